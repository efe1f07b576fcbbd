// A pipe keeps what is written to it, in order, and says when it is full.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
	int ends[2];
	char said[6] = "";

	if (pipe2(ends, O_NONBLOCK) < 0) {
		perror("pipe2");
		return 1;
	}
	if (write(ends[1], "one", 3) != 3 || write(ends[1], "two", 3) != 3)
		return 1;
	if (read(ends[0], said, sizeof(said)) != 6 || memcmp(said, "onetwo", 6)) {
		fprintf(stderr, "the pipe said %.6s\n", said);
		return 1;
	}
	while (write(ends[1], said, sizeof(said)) > 0)
		;
	if (errno != EAGAIN) {
		perror("write");
		return 1;
	}
	return 0;
}
