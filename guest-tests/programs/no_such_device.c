// What cannot be tried here is skipped, with its reason.
#include <stdio.h>

int main(void)
{
	puts("no such device");
	return 77;
}
