/* SPDX-License-Identifier: MIT
 *
 * Shows what a process finds when it starts, as "key: value" lines on standard output: identity, signals, descriptors,
 * limits, arguments and environment. The end of the output is the end of the process.
 */
#include <dirent.h>
#include <linux/sched/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

static void show_lines_of(const char *path, const char *key_prefix)
{
	char line[4096];
	FILE *f = fopen(path, "re");

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, key_prefix, strlen(key_prefix)) == 0)
			fputs(line, stdout);
	if (f)
		fclose(f);
}

static void show_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct stat st;

	printf("fds:");
	for (const struct dirent *d; dir && (d = readdir(dir));)
		if (d->d_name[0] != '.' && atoi(d->d_name) != dirfd(dir))
			printf(" %s", d->d_name);
	printf("\n");
	if (dir)
		closedir(dir);
	for (int fd = 0; fd < 3; fd++)
		if (fstat(fd, &st) == 0)
			printf("inode%d: %llu\n", fd, (unsigned long long)st.st_ino);
}

static void show_slice(void)
{
	struct sched_attr attr;

	if (syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0U) == 0)
		printf("slice: %llu\n", (unsigned long long)attr.sched_runtime);
}

int main(int argc, char **argv)
{
	struct rlimit nofile;
	int death_signal = -1;

	printf("pid: %d\nppid: %d\npgid: %d\nsid: %d\n", getpid(), getppid(), getpgrp(), getsid(0));
	printf("tpgid: %d\n", tcgetpgrp(STDIN_FILENO));
	show_lines_of("/proc/self/status", "Sig");
	show_lines_of("/proc/self/status", "ShdPnd");
	show_lines_of("/proc/self/cgroup", "0::");
	show_descriptors();
	if (prctl(PR_GET_PDEATHSIG, &death_signal) == 0)
		printf("pdeathsig: %d\n", death_signal);
	if (getrlimit(RLIMIT_NOFILE, &nofile) == 0)
		printf("nofile: %llu %llu\n", (unsigned long long)nofile.rlim_cur, (unsigned long long)nofile.rlim_max);
	show_slice();
	printf("oom_score_adj: ");
	fflush(stdout);
	show_lines_of("/proc/self/oom_score_adj", "");
	for (int i = 0; i < argc; i++)
		printf("arg%d: %s\n", i, argv[i]);
	for (char **e = environ; *e; e++)
		printf("env: %s\n", *e);
	return fflush(stdout) == 0 ? 0 : 1;
}
