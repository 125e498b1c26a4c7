/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Scatter lists as the device reads them.
 */
#ifndef PINHOLE_SEGMENTS_H
#define PINHOLE_SEGMENTS_H

#include <linux/sizes.h>
#include <linux/types.h>

#include "virtio_media.h"

/* Longest segment: an entry has 32 bits for the length. */
#define PINHOLE_MAX_SEGMENT SZ_1G

/**
 * struct pinhole_segments - a list of scatter entries being written
 * @entries: where the entries go; NULL to count them only
 * @max: room in @entries
 * @count: number of entries so far
 * @left: bytes of the buffer that no entry covers yet
 * @start: address of the last entry
 * @len: length of the last entry
 */
struct pinhole_segments {
	struct virtio_media_sg_entry *entries;
	unsigned int max;
	unsigned int count;
	size_t left;
	u64 start;
	u64 len;
};

void pinhole_segments_add(struct pinhole_segments *segs, u64 start, u64 len);

#endif /* PINHOLE_SEGMENTS_H */
