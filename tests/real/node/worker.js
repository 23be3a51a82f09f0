// SPDX-License-Identifier: MIT
// The smallest worker that uses faktory-worker as its README says.
const fs = require("fs");
const { spawn } = require("child_process");
const { setTimeout: sleep } = require("timers/promises");
const faktory = require("faktory-worker");

const jobs = {
  echo: (ms) => sleep(ms),
  fail: () => { throw new Error("failed on purpose"); },
  sleep: (seconds) => sleep(seconds * 1000),
  // A signal to ourselves arrives a moment later: wait, so that the job is never finished.
  segv: () => { process.kill(process.pid, "SIGSEGV"); return sleep(60000); },
  exit: (status) => process.exit(status),
  eat: (mib) => { Buffer.alloc(mib * 1048576, 1); },
  fork: (seconds) => new Promise((resolve, reject) => {
    spawn("sleep", [String(seconds)]).on("error", reject)
      .on("exit", (code, signal) => (code === 0 ? resolve() : reject(new Error(`child: ${signal || code}`))));
  }),
  log: (text) => { fs.writeSync(2, `${text}\n`); },
};

function log(word, jid) {
  if (process.env.WORKER_LOG)
    fs.appendFileSync(process.env.WORKER_LOG, `${word} ${jid} ${process.pid} ${process.hrtime.bigint()}\n`);
}

for (const [name, job] of Object.entries(jobs)) {
  faktory.register(name, (...args) => async (ctx) => {
    log("start", ctx.job.jid);
    await job(...args);
    log("done", ctx.job.jid);
  });
}

faktory.work({
  concurrency: Number(process.env.WORKER_CONCURRENCY || 1),
  queues: (process.env.WORKER_QUEUES || "default").split(","),
}).catch((error) => {
  console.error(`worker failed to start: ${error}`);
  process.exit(1);
});
