// No case: a program that others call.
int main(void)
{
	return 7;
}
