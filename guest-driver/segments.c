// SPDX-License-Identifier: GPL-2.0
/*
 * Scatter lists as the device reads them.
 */
#include <linux/minmax.h>
#include <asm/byteorder.h>

#include "segments.h"

/**
 * pinhole_segments_add() - add memory to a list of scatter entries
 * @segs: the list
 * @start: address as the device sees it
 * @len: length in bytes
 *
 * Memory that follows on the last entry is merged with it. What goes beyond the
 * length of the buffer is left out, so that the entries cover it exactly.
 */
void pinhole_segments_add(struct pinhole_segments *segs, u64 start, u64 len)
{
	struct virtio_media_sg_entry *entry;

	len = min_t(u64, len, segs->left);
	if (!len)
		return;
	segs->left -= len;

	if (segs->count && segs->start + segs->len == start &&
	    segs->len + len <= PINHOLE_MAX_SEGMENT) {
		segs->len += len;
	} else {
		segs->count++;
		segs->start = start;
		segs->len = len;
	}
	if (segs->count > segs->max)
		return;
	entry = &segs->entries[segs->count - 1];
	entry->start = cpu_to_le64(segs->start);
	entry->len = cpu_to_le32(segs->len);
}
