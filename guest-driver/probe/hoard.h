/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory without a free block of any size, on purpose.
 */
#ifndef FRAME_VECTOR_PROBE_HOARD_H
#define FRAME_VECTOR_PROBE_HOARD_H

#include <linux/list.h>

/**
 * struct hoard - blocks of memory that are kept from everybody
 * @blocks: their first pages, by &page.lru; the order is in &page.private
 */
struct hoard {
	struct list_head blocks;
};

void hoard_init(struct hoard *hoard);
int hoard_take(struct hoard *hoard, unsigned int singles);
void hoard_free(struct hoard *hoard);

#endif /* FRAME_VECTOR_PROBE_HOARD_H */
