// SPDX-License-Identifier: MIT
//! The smallest worker that uses the `faktory` crate as its README says.
//!
//! The crate installs no signal handler. WORKER_GRACEFUL=1 adds the one its
//! documentation shows, on SIGTERM; without it SIGTERM kills the process.

use faktory::{Job, Worker};
use std::{env, io, io::Write, process, time::Duration};

type Result = std::result::Result<(), io::Error>;

/// Append "WORD JID PID MONOTONIC_NS" to the file named by WORKER_LOG.
fn log(word: &str, job: &Job) {
    let Ok(path) = env::var("WORKER_LOG") else { return };
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    let ns = t.tv_sec * 1_000_000_000 + t.tv_nsec;
    let line = format!("{word} {} {} {ns}\n", job.id().as_str(), process::id());
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut f| f.write_all(line.as_bytes())).expect("WORKER_LOG");
}

fn number(job: &Job) -> f64 {
    job.args().first().and_then(|v| v.as_f64()).unwrap_or(0.0)
}

async fn perform(job: Job) -> Result {
    log("start", &job);
    match job.kind() {
        "echo" => tokio::time::sleep(Duration::from_secs_f64(number(&job) / 1000.0)).await,
        "sleep" => tokio::time::sleep(Duration::from_secs_f64(number(&job))).await,
        "fail" => return Err(io::Error::new(io::ErrorKind::Other, "failed on purpose")),
        // Really bad access: Rust's own handler survives a SIGSEGV that was only sent.
        "segv" => unsafe { std::ptr::write_volatile(std::hint::black_box(8) as *mut u8, 1) },
        "exit" => process::exit(number(&job) as i32),
        "eat" => {
            // A value that is not zero in every page, so that the memory is really used.
            let mut memory = vec![0u8; (number(&job) as usize) << 20];
            memory.iter_mut().step_by(4096).for_each(|b| *b = 1);
            std::hint::black_box(&memory);
        }
        "fork" => {
            let seconds = number(&job).to_string();
            let status = tokio::process::Command::new("sleep").arg(seconds).status().await?;
            if !status.success() {
                return Err(io::Error::new(io::ErrorKind::Other, status.to_string()));
            }
        }
        "log" => eprintln!("{}", job.args().first().and_then(|v| v.as_str()).unwrap_or("")),
        _ => unreachable!(),
    }
    log("done", &job);
    Ok(())
}

#[tokio::main]
async fn main() {
    let queues = env::var("WORKER_QUEUES").unwrap_or("default".into());
    let queues: Vec<&str> = queues.split(',').collect();
    let workers = env::var("WORKER_CONCURRENCY").ok().and_then(|n| n.parse().ok()).unwrap_or(1);

    let mut builder = Worker::builder().workers(workers);
    for kind in ["echo", "fail", "sleep", "segv", "exit", "eat", "fork", "log"] {
        builder = builder.register_fn(kind, perform);
    }
    if env::var("WORKER_GRACEFUL").is_ok() {
        use tokio::signal::unix::{signal, SignalKind};
        let mut term = signal(SignalKind::terminate()).expect("SIGTERM");
        builder = builder.with_graceful_shutdown(async move { term.recv().await; });
    }
    let mut worker = match builder.connect().await {
        Ok(worker) => worker,
        Err(e) => { eprintln!("cannot connect: {e}"); process::exit(1) }
    };
    match worker.run(&queues).await {
        Ok(stop) => eprintln!("stopped: {}, {} still running", stop.reason, stop.workers_still_running),
        Err(e) => { eprintln!("worker failed: {e}"); process::exit(1) }
    }
}
