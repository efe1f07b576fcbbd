// Fails on purpose.
#include <stdio.h>

int main(void)
{
	puts("77 is a skip, 3 is none");
	return 3;
}
