// Fails on purpose.
#include <stdlib.h>

int main(void)
{
	abort();
}
