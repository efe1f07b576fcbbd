#include <linux/init.h>
#include <linux/module.h>

static int __init {{module}}_init(void)
{
	pr_info("{{module}}: loaded\n");
	return 0;
}
module_init({{module}}_init);

static void __exit {{module}}_exit(void)
{
}
module_exit({{module}}_exit);

MODULE_LICENSE("GPL");
