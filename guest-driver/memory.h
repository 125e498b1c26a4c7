/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The memory of a buffer's planes.
 */
#ifndef PINHOLE_MEMORY_H
#define PINHOLE_MEMORY_H

#include <linux/list.h>
#include <linux/scatterlist.h>
#include <media/videobuf2-core.h>

#include "virtio_media.h"

struct dma_buf;
struct frame_vector;
struct pinhole_buffer;
struct pinhole_device;

/**
 * struct pinhole_mem - the memory of one plane, as videobuf2's mem_priv
 * @dev: the device
 * @sg_priv: memory of vb2_dma_sg_memops; NULL if it is pinned by this driver
 * @userptr: it is the application's memory
 * @dbuf: dma-buf that it comes from, or NULL
 * @mapped: @dbuf is mapped
 * @held: the card may write to it until it is reset; freeing is put off
 * @node: entry in the device's list of memory to free after the reset
 * @buf: of a first plane: the buffer whose command describes it, or NULL
 * @start: user address of the first byte
 * @size: length in bytes, no longer than the format's plane
 * @vec: frame vector of the pinned range
 * @pages: pages of @vec
 * @nr: number of pages
 * @sgt: scatter list of @pages
 * @dma_mapped: @sgt is mapped by the DMA API
 * @vaddr: kernel mapping, or NULL
 *
 * The fields from @start on are for memory pinned by this driver.
 */
struct pinhole_mem {
	struct pinhole_device *dev;
	void *sg_priv;
	bool userptr;
	struct dma_buf *dbuf;
	bool mapped;
	bool held;
	struct list_head node;
	struct pinhole_buffer *buf;

	unsigned long start;
	unsigned long size;
	struct frame_vector *vec;
	struct page **pages;
	unsigned int nr;
	struct sg_table sgt;
	bool dma_mapped;
	void *vaddr;
};

/**
 * struct pinhole_segments - collects scatter entries
 * @entries: where they go; NULL to count them only
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

/* memory.c */
extern const struct vb2_mem_ops pinhole_mem_ops;
int pinhole_mem_segments(struct pinhole_mem *mem, size_t length,
			 struct virtio_media_sg_entry *entries,
			 unsigned int max);
void pinhole_mem_hold(struct vb2_buffer *vb);
void pinhole_mem_free_held(struct pinhole_device *dev);

/* userptr.c */
int pinhole_pin(struct pinhole_mem *mem, unsigned long start,
		unsigned long size);
void pinhole_unpin(struct pinhole_mem *mem);
void pinhole_pinned_segments(struct pinhole_mem *mem,
			     struct pinhole_segments *segs);
void pinhole_segments_add(struct pinhole_segments *segs, u64 start, u64 len);

#endif /* PINHOLE_MEMORY_H */
