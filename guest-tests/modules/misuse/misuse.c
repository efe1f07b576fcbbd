// SPDX-License-Identifier: GPL-2.0
/*
 * A module that misuses what the kernel offers to modules, in a way on demand:
 * the name of one, written to /sys/module/misuse/parameters/trigger. Each time
 * it does so with other objects: what a detector says once, it says of one.
 *
 * It builds for Linux 3.0 and for today's. A kernel that does not notice goes
 * on unharmed.
 */
#include <linux/delay.h>
#include <linux/etherdevice.h>
#include <linux/gfp.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irqdesc.h>
#include <linux/kernel.h>
#include <linux/kobject.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/version.h>
#include <linux/workqueue.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(4, 11, 0)
#include <linux/refcount.h>
#endif

static DEFINE_MUTEX(third);
static DEFINE_MUTEX(fourth);
static DEFINE_SPINLOCK(spin);

/* Nobody initialised it, so that nothing says of which kind it is. */
static void do_non_static_key(void)
{
	spinlock_t *lock = kzalloc(sizeof(*lock), GFP_KERNEL);

	if (!lock)
		return;
	spin_lock(lock);
	spin_unlock(lock);
	kfree(lock);
}

/* Of other locks than those of the module fault. */
static void do_lock_inversion(void)
{
	mutex_lock(&third);
	mutex_lock(&fourth);
	mutex_unlock(&fourth);
	mutex_unlock(&third);
	mutex_lock(&fourth);
	mutex_lock(&third);
	mutex_unlock(&third);
	mutex_unlock(&fourth);
}

/* The kernel says so once in a second. */
static void do_might_sleep(void)
{
	spin_lock(&spin);
	might_sleep();
	spin_unlock(&spin);
}

static void do_duplicate_name(void)
{
	struct kobject *one, *other;

	one = kobject_create_and_add("misuse", kernel_kobj);
	if (!one)
		return;
	other = kobject_create_and_add("misuse", kernel_kobj);
	kobject_put(other);
	kobject_put(one);
}

static void release(struct kobject *kobj)
{
	kfree(kobj);
}

static struct kobj_type type = { .release = release };

static void do_init_twice(void)
{
	struct kobject *kobj = kzalloc(sizeof(*kobj), GFP_KERNEL);

	if (!kobj)
		return;
	kobject_init(kobj, &type);
	kobject_init(kobj, &type);
	kobject_put(kobj);
}

/* WARN_ONCE(), of each of its callers once. */
static void do_refcount(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(4, 11, 0)
	refcount_t count;

	refcount_set(&count, 0);
	refcount_inc(&count);
#endif
}

static irqreturn_t not_mine(int irq, void *unused)
{
	return IRQ_NONE;
}

/* So many interrupts of which no handler knows anything. */
static void do_irq_nobody_cares_for(void)
{
	unsigned long flags;
	int irq, i;

	for (irq = NR_IRQS - 1; irq > 0; irq--)
		if (!request_irq(irq, not_mine, 0, "misuse", NULL))
			break;
	if (irq <= 0)
		return;
	for (i = 0; i < 100000; i++) {
		local_irq_save(flags);
		generic_handle_irq(irq);
		local_irq_restore(flags);
	}
	free_irq(irq, NULL);
}

static struct net_device *held;

static void let_go(struct work_struct *unused)
{
	dev_put(held);
}

static DECLARE_DELAYED_WORK(let_go_later, let_go);

static netdev_tx_t transmit(struct sk_buff *skb, struct net_device *dev)
{
	dev_kfree_skb(skb);
	return NETDEV_TX_OK;
}

static const struct net_device_ops device_ops = { .ndo_start_xmit = transmit };

/* The kernel waits for the device, and says so after ten seconds. */
static void do_device_held(void)
{
	held = alloc_etherdev(0);
	if (!held)
		return;
	held->netdev_ops = &device_ops;
	if (!register_netdev(held)) {
		dev_hold(held);
		schedule_delayed_work(&let_go_later, 12 * HZ);
		unregister_netdev(held);
		flush_delayed_work(&let_go_later);
	}
	free_netdev(held);
}

/* Only kernels that look whenever a page is freed are not harmed by it. */
static void do_bad_page(void)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(4, 7, 0)
	struct page *page = alloc_page(GFP_KERNEL);

	if (!page)
		return;
	page->mapping = (void *)&spin;
	__free_page(page);
#endif
}

static const struct {
	const char *name;
	void (*run)(void);
} ways[] = {
	{ "non-static-key", do_non_static_key },
	{ "lock-inversion", do_lock_inversion },
	{ "might-sleep", do_might_sleep },
	{ "duplicate-name", do_duplicate_name },
	{ "init-twice", do_init_twice },
	{ "refcount", do_refcount },
	{ "irq", do_irq_nobody_cares_for },
	{ "device-held", do_device_held },
	{ "bad-page", do_bad_page },
};

static int trigger(const char *name, const struct kernel_param *kp)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		if (sysfs_streq(name, ways[i].name)) {
			ways[i].run();
			return 0;
		}
	}
	return -EINVAL;
}

static const struct kernel_param_ops trigger_ops = { .set = trigger };

module_param_cb(trigger, &trigger_ops, NULL, 0200);
MODULE_PARM_DESC(trigger, "the way to misuse the kernel");

MODULE_DESCRIPTION("Misuse of the kernel on demand");
MODULE_LICENSE("GPL");

static int __init misuse_init(void)
{
	return 0;
}

static void __exit misuse_exit(void)
{
}

module_init(misuse_init);
module_exit(misuse_exit);
