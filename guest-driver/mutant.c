// SPDX-License-Identifier: GPL-2.0
/*
 * Deliberate bugs: which of them is in the driver now.
 */
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/string.h>

#include "mutant.h"

static const char * const mutant_names[] = {
	[PINHOLE_NO_MUTANT] = "none",
	[PINHOLE_UNPIN_EARLY] = "unpin-early",
	[PINHOLE_PIN_READONLY] = "pin-readonly",
	[PINHOLE_LEAVE_CLEAN] = "leave-clean",
	[PINHOLE_IGNORE_OFFSET] = "ignore-offset",
	[PINHOLE_ROUND_UP] = "round-up",
	[PINHOLE_LOSE_LAST_PAGE] = "lose-last-page",
	[PINHOLE_SWAP_PAGES] = "swap-pages",
	[PINHOLE_LEAK_PIN] = "leak-pin",
	[PINHOLE_UNPIN_TWICE] = "unpin-twice",
	[PINHOLE_COMPLETE_EARLY] = "complete-early",
	[PINHOLE_STALE_LIST] = "stale-list",
	[PINHOLE_WRONG_SYNC] = "wrong-sync",
	[PINHOLE_UNMAP_TWICE] = "unmap-twice",
	[PINHOLE_LEAK_MAPPING] = "leak-mapping",
	[PINHOLE_WRONG_DIRECTION] = "wrong-direction",
	[PINHOLE_SLEEP_LOCKED] = "sleep-locked",
	[PINHOLE_LOCK_ORDER] = "lock-order",
	[PINHOLE_IRQS_ON] = "irqs-on",
	[PINHOLE_USE_AFTER_FREE] = "use-after-free",
	[PINHOLE_LEAK_COMMAND] = "leak-command",
};

static int mutant;

/* The pages that were pinned last; the queue's mutex guards them. */
static struct page *last_pages[1024];
static unsigned int last_nr;

/**
 * mutant_set() - a value is written to the module parameter
 * @val: name of the bug
 * @kp: the parameter
 *
 * Context: Process context.
 * Return: 0, or -EINVAL if there is no such bug.
 */
static int mutant_set(const char *val, const struct kernel_param *kp)
{
	int which = sysfs_match_string(mutant_names, val);

	if (which < 0)
		return which;
	WRITE_ONCE(mutant, which);
	return 0;
}

/**
 * mutant_get() - the module parameter is read
 * @buffer: where its value goes
 * @kp: the parameter
 *
 * Context: Process context.
 * Return: Number of bytes.
 */
static int mutant_get(char *buffer, const struct kernel_param *kp)
{
	return scnprintf(buffer, PAGE_SIZE, "%s\n",
			 mutant_names[READ_ONCE(mutant)]);
}

static const struct kernel_param_ops mutant_ops = {
	.set = mutant_set,
	.get = mutant_get,
};

module_param_cb(mutant, &mutant_ops, NULL, 0644);
MODULE_PARM_DESC(mutant, "the bug to have (default: none)");

/**
 * pinhole_mutant() - whether a bug is in the driver
 * @which: bug
 *
 * Context: Any.
 * Return: True if it is the one that was picked.
 */
bool pinhole_mutant(enum pinhole_mutant which)
{
	return READ_ONCE(mutant) == which;
}

/**
 * pinhole_mutant_pages() - which pages go into a scatter list
 * @pages: pages that are pinned
 * @nr: number of them
 *
 * Context: Process context; the queue's mutex is held.
 * Return: @nr pages, good until the next call.
 */
struct page **pinhole_mutant_pages(struct page **pages, unsigned int nr)
{
	if (pinhole_mutant(PINHOLE_STALE_LIST) && nr <= last_nr)
		return last_pages;
	last_nr = min_t(unsigned int, nr, ARRAY_SIZE(last_pages));
	memcpy(last_pages, pages, last_nr * sizeof(*pages));
	if (pinhole_mutant(PINHOLE_SWAP_PAGES) && nr > 1)
		swap(pages[0], pages[1]);
	return pages;
}
