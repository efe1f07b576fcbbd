// SPDX-License-Identifier: GPL-2.0
/*
 * A module that says of itself that its source is not to be had: the kernel
 * does not trust its own detectors any more when it was loaded.
 */
#include <linux/init.h>
#include <linux/module.h>

MODULE_DESCRIPTION("Taints the kernel");
MODULE_LICENSE("Proprietary");

static int __init proprietary_init(void)
{
	return 0;
}

static void __exit proprietary_exit(void)
{
}

module_init(proprietary_init);
module_exit(proprietary_exit);
