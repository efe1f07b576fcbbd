/*
 * A program in the place of a guest's kernel, which tries what an evil one would. A line says what came of each
 * attempt: "NAME failed: ERROR", or "NAME DONE". What it can use it is told on its command line.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *name, int done)
{
	if (done)
		printf("%s DONE\n", name);
	else
		printf("%s failed: %s\n", name, strerror(errno));
	fflush(stdout);
}

/* A system call that must not work. */
#define TRY(name, call) do { errno = 0; say(name, (call) >= 0); } while (0)

static void files(const char *secret, const char *image, const char *kernel)
{
	static const char *const ways[] = { "", "/proc/1/root", "/proc/self/root", "../../..", "/sys/0/../.." };
	char path[4096];

	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		snprintf(path, sizeof(path), "%s%s", ways[i], secret);
		TRY("read a secret", open(path, O_RDONLY));
		TRY("overwrite a secret", open(path, O_WRONLY | O_TRUNC));
	}
	TRY("read passwords", open("/etc/passwd", O_RDONLY));
	TRY("write to the image", open(image, O_RDWR));
	TRY("remove the image", unlink(image));
	TRY("chmod the image", chmod(image, 0777));
	TRY("write to the kernel", open(kernel, O_WRONLY));
	TRY("make a file in the root", open("/evil", O_WRONLY | O_CREAT, 0600));
	TRY("make a file in /dev", open("/dev/evil", O_WRONLY | O_CREAT, 0600));
	TRY("make a device", mknod("disk", S_IFBLK | 0600, makedev(254, 0)));
	TRY("link to a file", symlink("/etc/passwd", "link"));
	TRY("see another guest", access("/sys/1", F_OK));
	TRY("read host memory", open("/dev/mem", O_RDONLY));
	TRY("chroot", chroot("."));
	for (int fd = 3; fd < 1024; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			say("an open descriptor", 1);
}

static void sockets(const char *path, const char *abstract, int port)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd;

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	strncpy(un.sun_path, path, sizeof(un.sun_path) - 1);
	TRY("connect to a socket", connect(fd, (void *)&un, sizeof(un)));
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	memset(un.sun_path, 0, sizeof(un.sun_path));
	strncpy(un.sun_path + 1, abstract, sizeof(un.sun_path) - 2);
	TRY("connect to an abstract socket",
	    connect(fd, (void *)&un, offsetof(struct sockaddr_un, sun_path) + 1 + strlen(abstract)));
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	TRY("send to an abstract socket",
	    sendto(fd, "x", 1, 0, (void *)&un, offsetof(struct sockaddr_un, sun_path) + 1 + strlen(abstract)));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	TRY("connect by TCP", connect(fd, (void *)&in, sizeof(in)));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	in.sin_addr.s_addr = htonl(0x0a550001);
	TRY("connect to the host end", connect(fd, (void *)&in, sizeof(in)));
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	TRY("send by UDP", sendto(fd, "x", 1, 0, (void *)&in, sizeof(in)));
	TRY("a netlink socket", socket(AF_NETLINK, SOCK_RAW, 0));
	TRY("a packet socket", socket(AF_PACKET, SOCK_RAW, 0));
	TRY("a vsock socket", socket(AF_VSOCK, SOCK_STREAM, 0));
}

static void tap(const char *name, const char *attempt)
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	int fd = open("/dev/net/tun", O_RDWR);

	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	TRY(attempt, ioctl(fd, TUNSETIFF, &request));
	close(fd);
}

static void process(pid_t pid)
{
	char byte;
	struct iovec local = { &byte, 1 }, remote = { (void *)0x400000, 1 };

	TRY("see a process", kill(pid, 0));
	TRY("kill a process", kill(pid, SIGKILL));
	TRY("trace a process", ptrace(PTRACE_ATTACH, pid, 0, 0));
	TRY("read a process", process_vm_readv(pid, &local, 1, &remote, 1, 0));
	TRY("open a process", syscall(SYS_pidfd_open, pid, 0));
}

static void processes(int count, char **pids)
{
	struct dirent *entry;
	DIR *proc = opendir("/proc");
	pid_t keeper = getppid();
	int seen = 0;

	while (proc && (entry = readdir(proc)))
		seen += entry->d_name[0] >= '0' && entry->d_name[0] <= '9';
	errno = ENOENT;
	say("list processes", seen > 0);
	while (count-- > 0)
		process(atoi(*pids++));
	TRY("trace the keeper", ptrace(PTRACE_ATTACH, keeper, 0, 0));
	kill(keeper, SIGKILL);
	kill(keeper, SIGSTOP);
	errno = 0;
	say("kill the keeper", getppid() != keeper);
}

static void calls(void)
{
	char zeroes[256] = { 0 };

	TRY("mount", mount("none", ".", "tmpfs", 0, ""));
	TRY("unmount", umount2("/", MNT_DETACH));
	TRY("bind", mount("/", ".", NULL, MS_BIND, NULL));
	TRY("a user namespace", unshare(CLONE_NEWUSER));
	TRY("a mount namespace", unshare(CLONE_NEWNS));
	TRY("a user namespace by clone", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
	TRY("clone3", syscall(SYS_clone3, zeroes, 88));
	TRY("another namespace", setns(0, 0));
	TRY("io_uring", syscall(SYS_io_uring_setup, 8, zeroes));
	TRY("bpf", syscall(SYS_bpf, 0, zeroes, sizeof(zeroes)));
	TRY("perf", syscall(SYS_perf_event_open, zeroes, 0, -1, -1, 0));
	TRY("userfaultfd", syscall(SYS_userfaultfd, 0));
	TRY("a key", syscall(SYS_add_key, "user", "evil", "x", 1, -4));
	TRY("keyrings", syscall(SYS_keyctl, 0, -4, 0));
	TRY("shared memory", syscall(SYS_shmget, 1, 4096, 01600));
	TRY("a message queue", syscall(SYS_mq_open, "evil", O_CREAT | O_RDWR, 0600, NULL));
	TRY("open by handle", syscall(SYS_open_by_handle_at, AT_FDCWD, zeroes, 0));
	TRY("the host's log", syscall(SYS_syslog, 3, zeroes, sizeof(zeroes)));
	TRY("become root", setresuid(0, 0, 0));
	TRY("load a module", syscall(SYS_init_module, zeroes, 0, ""));
	TRY("another host name", sethostname("evil", 4));
}

static void limits(unsigned long folder)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	static char block[1 << 16];
	unsigned long written = 0;
	ssize_t some = 0;
	int fd = -1;

	TRY("lift a limit", setrlimit(RLIMIT_NPROC, &all));
	TRY("map a terabyte", mmap(NULL, 1UL << 40, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
				   -1, 0) == MAP_FAILED ? -1 : 0);
	signal(SIGXFSZ, SIG_IGN);
	/* More files than one, each up to what a file may be. */
	for (int i = 0; i < 8; i++) {
		char name[16];

		snprintf(name, sizeof(name), "fill%d", i);
		fd = open(name, O_WRONLY | O_CREAT, 0600);
		while ((some = write(fd, block, sizeof(block))) > 0)
			written += some;
		close(fd);
	}
	errno = ENOSPC;
	say("fill the host's memory", written > folder);
	for (int i = 0; i < 8; i++) {
		char name[16];

		snprintf(name, sizeof(name), "fill%d", i);
		unlink(name);
	}
}

static int wait_for_ever(void *unused)
{
	for (;;)
		syscall(SYS_pause);
	return unused != NULL;
}

/* They share this process's memory, to cost the host little. */
static void many_processes(void)
{
	static char stacks[10000][4096] __attribute__((aligned(4096)));
	int count = 0;

	while (count < 10000 && clone(wait_for_ever, stacks[count] + 4096, CLONE_VM | SIGCHLD, NULL) > 0)
		count++;
	say("10000 processes", count == 10000);
}

int main(int argc, char **argv)
{
	if (argc < 8)
		return 2;
	/* The one tap that a guest is to have. */
	tap("tap0", "CONTROL the own tap");
	files(argv[1], argv[2], argv[0]);
	sockets(argv[3], argv[4], atoi(argv[5]));
	tap("tap1", "another guest's tap");
	tap("evil", "a new tap");
	processes(argc - 7, argv + 7);
	/* On the host itself the rest would do harm. */
	if (!getenv("PATH"))
		return 0;
	calls();
	/* Where nothing bounds it, it would take what others on the host need. */
	if (!strcmp(argv[6], "0")) {
		puts("over");
		fflush(stdout);
		pause();
	}
	limits(strtoul(argv[6], NULL, 10));
	many_processes();
	printf("over\n");
	fflush(stdout);
	/* The processes stay, for others to see whether they still can have some. */
	getchar();
	pause();
	return 0;
}
