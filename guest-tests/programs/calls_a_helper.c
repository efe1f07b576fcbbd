// A program finds what it needs beside it: a file and an empty folder in its own, and another program by its name.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char line[32] = "";
	FILE *words = fopen("words.txt", "r");
	int status;

	if (argc != 1 || !strstr(argv[0], "/calls_a_helper")) {
		fprintf(stderr, "called as %s\n", argv[0]);
		return 1;
	}
	if (!words || !fgets(line, sizeof(line), words) || strcmp(line, "some words\n")) {
		perror("words.txt");
		return 1;
	}
	if (access("empty", R_OK | X_OK)) {
		perror("empty");
		return 1;
	}
	status = system("helper");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 7) {
		fprintf(stderr, "the helper ended with %#x\n", status);
		return 1;
	}
	return getenv("OF_THE_SUITE") && !strcmp(getenv("OF_THE_SUITE"), "a value") ? 0 : 1;
}
