// SPDX-License-Identifier: GPL-2.0
/*
 * A module with faults, each on demand: the name of one, written to
 * /sys/module/fault/parameters/trigger, has the writer run into it.
 *
 * It is also the worked example of an out-of-tree module: `modules` in the
 * configuration names this folder, and tests/faults.rs loads it.
 *
 * It builds for Linux 3.0 and for today's. What a fault leaves behind is mended
 * where that is possible, so that a kernel without a detector goes on unharmed.
 */
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/delay.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

#define SIZE 60			/* of an allocation; the slab's objects have 64 */

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);
static DEFINE_SPINLOCK(spin);

/* The compiler is not to see through what is done with these. */
static char *volatile object;
static volatile int sink;

static void do_warn(void)
{
	WARN(1, "fault: warned as asked\n");
}

static void do_warn_again(void)
{
	WARN(1, "fault: warned of something else\n");
}

/* More than the log has room for, with a complaint that leaves no other trace. */
static void do_flood(void)
{
	int i;

	for (i = 0; i < 50000; i++)
		printk(KERN_INFO "fault: %d lines before\n", i);
	printk(KERN_ERR "Buffer I/O error on device fault, logical block 0\n");
	for (i = 0; i < 50000; i++)
		printk(KERN_INFO "fault: %d lines after\n", i);
}

static void do_bug(void)
{
	BUG();
}

static void do_null_dereference(void)
{
	object = NULL;
	sink = *(volatile int *)object;
}

static void do_use_after_free(void)
{
	char *others[64];
	int i;

	object = kmalloc(SIZE, GFP_KERNEL);
	if (!object)
		return;
	kfree(object);
	/* Not where an allocator keeps its list of free objects. */
	((volatile char *)object)[48] = 1;
	/* An allocator that checks does so when the object is used again. */
	for (i = 0; i < ARRAY_SIZE(others); i++)
		others[i] = kmalloc(SIZE, GFP_KERNEL);
	for (i = 0; i < ARRAY_SIZE(others); i++)
		kfree(others[i]);
}

static void do_out_of_bounds(void)
{
	object = kmalloc(SIZE, GFP_KERNEL);
	if (!object)
		return;
	/* Behind the allocation, but within the slab's object. */
	((volatile char *)object)[SIZE] = 1;
	kfree(object);
}

static void do_loop(void)
{
	for (;;)
		cpu_relax();
}

static void do_loop_without_interrupts(void)
{
	local_irq_disable();
	for (;;)
		cpu_relax();
}

static void do_sleep_in_atomic(void)
{
	spin_lock(&spin);
	msleep(1);
	spin_unlock(&spin);
}

static void do_lock_inversion(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);
	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
}

static void do_deadlock(void)
{
	mutex_lock(&first);
	mutex_lock(&first);
}

static void do_leak(void)
{
	int i;

	/* Several: a stale pointer on a stack may hide one. */
	for (i = 0; i < 16; i++)
		object = kmalloc(SIZE, GFP_KERNEL);
	object = NULL;
}

static int noinline recurse(int depth)
{
	volatile char frame[512];

	frame[depth % sizeof(frame)] = depth;
	return recurse(depth + 1) + frame[(depth + 1) % sizeof(frame)];
}

static void do_stack_overflow(void)
{
	sink = recurse(0);
}

static void do_list_corruption(void)
{
	static struct list_head head, one, two;

	INIT_LIST_HEAD(&head);
	list_add(&one, &head);
	head.next = &head;
	/* The entry after the head does not point back at it. */
	list_add(&two, &head);
}

/*
 * The allocator's list of free objects is a loop then. Whoever is given one
 * writes where the list goes on: that is done here, lest it be another case.
 */
static void do_double_free(void)
{
	int i;

	object = kmalloc(SIZE, GFP_KERNEL);
	if (!object)
		return;
	kfree(object);
	kfree(object);
	for (i = 0; i < 8; i++) {
		object = kmalloc(SIZE, GFP_KERNEL);
		if (object)
			memset(object, 0xff, SIZE);
	}
}

/* An int has fewer bits. */
static volatile int places = 64;

static void do_shift_out_of_bounds(void)
{
	sink = 1 << places;
}

/* A place in the code is reported once. */
static void do_shift_out_of_bounds_again(void)
{
	sink = 2 << places;
}

static const struct {
	const char *name;
	void (*run)(void);
} faults[] = {
	{ "warn", do_warn },
	{ "warn-again", do_warn_again },
	{ "flood", do_flood },
	{ "bug", do_bug },
	{ "null-dereference", do_null_dereference },
	{ "use-after-free", do_use_after_free },
	{ "out-of-bounds", do_out_of_bounds },
	{ "loop", do_loop },
	{ "loop-without-interrupts", do_loop_without_interrupts },
	{ "sleep-in-atomic", do_sleep_in_atomic },
	{ "lock-inversion", do_lock_inversion },
	{ "deadlock", do_deadlock },
	{ "leak", do_leak },
	{ "stack-overflow", do_stack_overflow },
	{ "list-corruption", do_list_corruption },
	{ "double-free", do_double_free },
	{ "shift-out-of-bounds", do_shift_out_of_bounds },
	{ "shift-out-of-bounds-again", do_shift_out_of_bounds_again },
};

static int trigger(const char *name, const struct kernel_param *kp)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(faults); i++) {
		if (sysfs_streq(name, faults[i].name)) {
			faults[i].run();
			return 0;
		}
	}
	return -EINVAL;
}

static const struct kernel_param_ops trigger_ops = { .set = trigger };

module_param_cb(trigger, &trigger_ops, NULL, 0200);
MODULE_PARM_DESC(trigger, "the fault to run into");

static bool unload_waits;
module_param(unload_waits, bool, 0600);
MODULE_PARM_DESC(unload_waits, "whether the unload waits until this is off");

MODULE_DESCRIPTION("Faults on demand");
MODULE_LICENSE("GPL");

static int __init fault_init(void)
{
	return 0;
}

static void __exit fault_exit(void)
{
	while (unload_waits)
		msleep(10);
}

module_init(fault_init);
module_exit(fault_exit);
