/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The memory of a buffer's planes.
 */
#ifndef PINHOLE_MEMORY_H
#define PINHOLE_MEMORY_H

#include <linux/dma-direction.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <media/videobuf2-core.h>

#include "segments.h"

struct dma_buf;
struct frame_vector;
struct pinhole_cmd;
struct pinhole_device;
struct pinhole_stream;

/**
 * struct pinhole_mem - the memory of one plane, as videobuf2's mem_priv
 * @dev: the device
 * @stream: the stream whose buffer it is of
 * @dir: which way the data go
 * @ops: the operations of videobuf2 whose memory it is, or NULL
 * @priv: what they know it by
 * @own: the device's own memory; if it is neither it is pinned by this driver
 * @cmd: of a first plane: the QBUF command that describes the buffer's memory
 * @start: user address of the first byte
 * @size: length in bytes, no longer than the format's plane
 * @vec: frame vector of the pinned range
 * @pages: the pages that @sgt is of; NULL if it is @ops that map the memory for the
 *	   device
 * @nr: number of pages
 * @sgt: scatter list of @pages
 * @dma_mapped: @sgt is mapped by the DMA API
 * @vaddr: kernel mapping, or NULL
 *
 * The fields from @start on are for memory pinned by this driver, and those from
 * @start to @dma_mapped, but for @vec, for that of vb2_vmalloc_memops; what was
 * allocated begins at 0. Of user pointers of other @ops there are @start and @size.
 * The device's own memory has @size, of whole pages, and @vaddr, and begins at 0.
 */
struct pinhole_mem {
	struct pinhole_device *dev;
	struct pinhole_stream *stream;
	enum dma_data_direction dir;
	const struct vb2_mem_ops *ops;
	void *priv;
	bool own;
	struct pinhole_cmd *cmd;

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
 * struct pinhole_dma - how the device addresses memory; fixed by the probe
 * @dev: device that does the DMA: the parent of the virtio device
 * @use: the device is given DMA addresses (VIRTIO_F_ACCESS_PLATFORM), not
 *	 guest-physical ones
 * @identity: the DMA API hands out guest-physical addresses here
 * @paged: MMAP memory is of single pages: what it can map in one piece is short, or
 *	   its addresses are not those that the device wants
 * @sync: memory has to be synchronised after the DMA, by a copy out of a bounce
 *	  buffer or as caches want it; never of a device that only reads
 */
struct pinhole_dma {
	struct device *dev;
	bool use;
	bool identity;
	bool paged;
	bool sync;
};

/**
 * pinhole_mem_wrap() - finish the description of a plane's memory
 * @mem: description; freed on failure
 * @ops: operations of videobuf2
 * @priv: their memory, NULL or an ERR_PTR
 *
 * Return: @mem, or an ERR_PTR.
 */
static inline void *pinhole_mem_wrap(struct pinhole_mem *mem,
				     const struct vb2_mem_ops *ops, void *priv)
{
	if (IS_ERR_OR_NULL(priv)) {
		kfree(mem);
		return priv ? priv : ERR_PTR(-ENOMEM);
	}
	mem->ops = ops;
	mem->priv = priv;
	return mem;
}

/* pin.c */
struct pinhole_mem *pinhole_mem_new(struct device *mem_dev);
int pinhole_pin(struct pinhole_mem *mem, unsigned long start,
		unsigned long size);
void pinhole_unpin(struct pinhole_mem *mem);
void pinhole_pinned_prepare(struct pinhole_mem *mem);
void pinhole_pinned_finish(struct pinhole_mem *mem);
void pinhole_pinned_segments(struct pinhole_mem *mem,
			     struct pinhole_segments *segs);
int pinhole_pages_map(struct pinhole_mem *mem);
void pinhole_pages_unmap(struct pinhole_mem *mem);

/* paged.c */
int pinhole_paged_alloc(struct pinhole_mem *mem, struct vb2_buffer *vb,
			unsigned long size);
int pinhole_paged_map(struct pinhole_mem *mem, struct vb2_buffer *vb);
void pinhole_paged_unmap(struct pinhole_mem *mem);

/* userptr.c; pinhole_mem_get_userptr() is in compat.h */
void pinhole_mem_put_userptr(void *priv);

/* memory.c */
extern const struct vb2_mem_ops pinhole_mem_ops;
int pinhole_mem_segments(struct pinhole_mem *mem, size_t length,
			 struct virtio_media_sg_entry *entries,
			 unsigned int max);

#endif /* PINHOLE_MEMORY_H */
