/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Deliberate bugs, for a test rig that is to find them.
 *
 * They are in a build with PINHOLE_MUTANTS=y alone, where the module parameter
 * "mutant" picks one. The driver's own files know nothing of them.
 */
#ifndef PINHOLE_MUTANT_H
#define PINHOLE_MUTANT_H

#include <linux/types.h>

/**
 * enum pinhole_mutant - the bugs
 * @PINHOLE_NO_MUTANT: none
 * @PINHOLE_UNPIN_EARLY: unpin the pages before the device has used them
 * @PINHOLE_PIN_READONLY: pin the pages without asking for write access
 * @PINHOLE_LEAVE_CLEAN: do not mark the pages dirty
 * @PINHOLE_IGNORE_OFFSET: ignore the offset of the buffer in its first page
 * @PINHOLE_ROUND_UP: round the length of the buffer up to whole pages
 * @PINHOLE_LOSE_LAST_PAGE: leave the last page out of the scatter list
 * @PINHOLE_SWAP_PAGES: put the first two pages in the wrong order
 * @PINHOLE_LEAK_PIN: never unpin the pages
 * @PINHOLE_UNPIN_TWICE: unpin the pages twice
 * @PINHOLE_COMPLETE_EARLY: give a buffer back before the device has filled or read it
 * @PINHOLE_STALE_LIST: use the pages of the buffer that was pinned before
 * @PINHOLE_WRONG_SYNC: synchronise for the device where it is for the CPU
 * @PINHOLE_UNMAP_TWICE: unmap pinned memory from the DMA API twice
 * @PINHOLE_LEAK_MAPPING: never unmap it
 * @PINHOLE_WRONG_DIRECTION: map it for the other direction
 * @PINHOLE_SLEEP_LOCKED: allocate memory that is waited for under the spinlock
 * @PINHOLE_LOCK_ORDER: take two mutexes in the wrong order
 * @PINHOLE_IRQS_ON: take the spinlock without keeping interrupts out
 * @PINHOLE_USE_AFTER_FREE: read a command when it was freed
 * @PINHOLE_LEAK_COMMAND: never free a command
 * @PINHOLE_OUTPUT_WRITE_PINS: pin the pages of output with write access
 * @PINHOLE_OUTPUT_DIRTY: mark the pages of output dirty
 * @PINHOLE_OUTPUT_NO_SYNC: do not synchronise output for the device
 * @PINHOLE_M2M_SWAPPED: pin and synchronise each direction of a device from memory to
 *			 memory as the other
 * @PINHOLE_M2M_MIXED_UP: queue the buffers to be filled in another file's session
 * @PINHOLE_UNPIN_LAST: when a buffer is dequeued, unpin the memory of the one that was
 *			queued last
 * @PINHOLE_LEAK_PART: never unpin the pages of a range that was pinned in part only
 * @PINHOLE_IMPORT_WHOLE: give the device all of an imported dma-buf, however long the
 *			  buffer is
 */
enum pinhole_mutant {
	PINHOLE_NO_MUTANT,
	PINHOLE_UNPIN_EARLY,
	PINHOLE_PIN_READONLY,
	PINHOLE_LEAVE_CLEAN,
	PINHOLE_IGNORE_OFFSET,
	PINHOLE_ROUND_UP,
	PINHOLE_LOSE_LAST_PAGE,
	PINHOLE_SWAP_PAGES,
	PINHOLE_LEAK_PIN,
	PINHOLE_UNPIN_TWICE,
	PINHOLE_COMPLETE_EARLY,
	PINHOLE_STALE_LIST,
	PINHOLE_WRONG_SYNC,
	PINHOLE_UNMAP_TWICE,
	PINHOLE_LEAK_MAPPING,
	PINHOLE_WRONG_DIRECTION,
	PINHOLE_SLEEP_LOCKED,
	PINHOLE_LOCK_ORDER,
	PINHOLE_IRQS_ON,
	PINHOLE_USE_AFTER_FREE,
	PINHOLE_LEAK_COMMAND,
	PINHOLE_OUTPUT_WRITE_PINS,
	PINHOLE_OUTPUT_DIRTY,
	PINHOLE_OUTPUT_NO_SYNC,
	PINHOLE_M2M_SWAPPED,
	PINHOLE_M2M_MIXED_UP,
	PINHOLE_UNPIN_LAST,
	PINHOLE_LEAK_PART,
	PINHOLE_IMPORT_WHOLE,
};

bool pinhole_mutant(enum pinhole_mutant which);

#endif /* PINHOLE_MUTANT_H */
