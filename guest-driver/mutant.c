// SPDX-License-Identifier: GPL-2.0
/*
 * Deliberate bugs: which of them is in the driver now.
 */
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
	[PINHOLE_OUTPUT_WRITE_PINS] = "output-write-pins",
	[PINHOLE_OUTPUT_DIRTY] = "output-dirty",
	[PINHOLE_OUTPUT_NO_SYNC] = "output-no-sync",
	[PINHOLE_M2M_SWAPPED] = "m2m-swapped",
	[PINHOLE_M2M_MIXED_UP] = "m2m-mixed-up",
	[PINHOLE_UNPIN_LAST] = "unpin-last",
	[PINHOLE_LEAK_PART] = "leak-part",
	[PINHOLE_IMPORT_WHOLE] = "import-whole",
};

static int mutant;

static int mutant_set(const char *val, const struct kernel_param *kp)
{
	int which = sysfs_match_string(mutant_names, val);

	if (which < 0)
		return which;
	WRITE_ONCE(mutant, which);
	return 0;
}

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

/* Whether the bug is the one that was picked. */
bool pinhole_mutant(enum pinhole_mutant which)
{
	return READ_ONCE(mutant) == which;
}
