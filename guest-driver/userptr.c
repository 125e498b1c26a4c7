// SPDX-License-Identifier: GPL-2.0
/*
 * User pointers: the application's own memory, pinned by get_vaddr_frames()
 * and described page by page.
 */
#include <linux/dma-mapping.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "memory.h"
#include "mutant.h"
#include "pinhole.h"
#include "trace.h"

/* Longest segment: an entry has 32 bits for the length. */
#define PINHOLE_MAX_SEGMENT SZ_1G

/**
 * pinhole_segments_add() - add memory to a list of scatter entries
 * @segs: the list
 * @start: address as the card sees it
 * @len: length in bytes
 *
 * Memory that follows on the last entry is merged with it. What goes beyond
 * the length of the buffer is left out, so that the entries cover it exactly.
 *
 * Context: Any.
 * Return: Nothing.
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

/**
 * pinhole_pinned_segments() - describe pinned memory to the card
 * @mem: memory pinned by pinhole_pin()
 * @segs: list to add it to
 *
 * Context: Any.
 * Return: Nothing.
 */
void pinhole_pinned_segments(struct pinhole_mem *mem,
			     struct pinhole_segments *segs)
{
	struct scatterlist *sg;
	unsigned int i;

	if (mem->dma_mapped) {
		for_each_sgtable_dma_sg(&mem->sgt, sg, i)
			pinhole_segments_add(segs, sg_dma_address(sg),
					     sg_dma_len(sg));
	} else {
		for_each_sgtable_sg(&mem->sgt, sg, i)
			pinhole_segments_add(segs, sg_phys(sg), sg->length);
	}
}

/**
 * pinhole_run_length() - bytes in a run of contiguous pages
 * @mem: memory with pages
 * @first: index of the first page of the run
 * @max: longest run, in bytes
 * @next: where the index of the page after the run is stored
 *
 * Context: Any.
 * Return: Length of the part of the buffer that lies in the run, in bytes.
 */
static size_t pinhole_run_length(struct pinhole_mem *mem, unsigned int first,
				 size_t max, unsigned int *next)
{
	unsigned long base = mem->start & PAGE_MASK;
	unsigned long from, to;
	unsigned int i = first + 1;

	while (i < mem->nr && (i - first + 1) * PAGE_SIZE <= max &&
	       page_to_pfn(mem->pages[i]) ==
	       page_to_pfn(mem->pages[i - 1]) + 1)
		i++;
	*next = i;

	from = max(mem->start, base + first * PAGE_SIZE);
	to = min(mem->start + mem->size, base + i * PAGE_SIZE);
	return to - from;
}

/**
 * pinhole_build_sgt() - make a scatter list of pinned pages
 * @mem: memory with pages
 *
 * With the DMA API in the path no segment is longer than what it can map in
 * one piece: a bounce buffer is only so long.
 *
 * Context: Process context.
 * Return: 0 or a negative errno.
 */
static int pinhole_build_sgt(struct pinhole_mem *mem)
{
	unsigned long offset = offset_in_page(mem->start);
	size_t max = PINHOLE_MAX_SEGMENT;
	unsigned int i, next, count = 0;
	struct scatterlist *sg;
	int ret;

	if (mem->dev->use_dma)
		max = min3(max, dma_max_mapping_size(mem->dev->dma_dev),
			   (size_t)dma_get_max_seg_size(mem->dev->dma_dev));
	max = max_t(size_t, max & PAGE_MASK, PAGE_SIZE);

	for (i = 0; i < mem->nr; i = next) {
		pinhole_run_length(mem, i, max, &next);
		count++;
	}
	ret = sg_alloc_table(&mem->sgt, count, GFP_KERNEL);
	if (ret)
		return ret;

	if (pinhole_mutant(PINHOLE_IGNORE_OFFSET))
		offset = 0;
	sg = mem->sgt.sgl;
	for (i = 0; i < mem->nr; i = next) {
		size_t len = pinhole_run_length(mem, i, max, &next);

		sg_set_page(sg, mem->pages[i], len, i ? 0 : offset);
		sg = sg_next(sg);
	}
	return 0;
}

/**
 * pinhole_map_pinned() - make pinned memory known to the DMA API, if need be
 * @mem: memory with a frame vector
 *
 * Without VIRTIO_F_ACCESS_PLATFORM the card is given guest-physical addresses,
 * and the DMA API is left out: what it may do to the addresses is not what the
 * card does.
 *
 * Frames without a reference are refused: old kernels give them for mappings
 * without pages (VM_PFNMAP), and nothing would keep them from being used for
 * something else when the process unmaps them.
 *
 * Context: Process context.
 * Return: 0 or a negative errno; -EFAULT if the frames are not referenced.
 */
static int pinhole_map_pinned(struct pinhole_mem *mem)
{
	struct pinhole_device *dev = mem->dev;
	struct page **pages;
	int ret;

	if (!mem->vec->got_ref)
		return -EFAULT;
	pages = frame_vector_pages(mem->vec);
	if (IS_ERR(pages))
		return -EFAULT;
	mem->pages = pinhole_mutant_pages(pages, mem->nr);
	ret = pinhole_build_sgt(mem);
	mem->pages = pages;
	if (ret || !dev->use_dma)
		return ret;

	/* The caches are synchronised by prepare and finish. */
	ret = dma_map_sgtable(dev->dma_dev, &mem->sgt, PINHOLE_DMA_DIR,
			      DMA_ATTR_SKIP_CPU_SYNC);
	mem->dma_mapped = !ret;
	return ret;
}

/**
 * pinhole_pin() - pin a range of the caller's memory
 * @mem: memory, zeroed but for its device
 * @start: first address
 * @size: length in bytes, not 0
 *
 * All or nothing: a range that can be pinned in part only, as it is when it
 * runs across mappings of different kinds, is refused.
 *
 * Context: Process context, of the process whose memory it is.
 * Return: 0 or a negative errno; -EFAULT if there is no such memory.
 */
int pinhole_pin(struct pinhole_mem *mem, unsigned long start,
		unsigned long size)
{
	unsigned long nr = ((start + size - 1) >> PAGE_SHIFT) -
			   (start >> PAGE_SHIFT) + 1;
	struct pinhole_segments segs = { .left = size };
	int ret = -EFAULT;

	if (pinhole_mutant(PINHOLE_ROUND_UP))
		segs.left = size = nr * PAGE_SIZE - offset_in_page(start);
	mem->start = start;
	mem->size = size;
	if (start + size < start || !access_ok((void __user *)start, size))
		goto out;

	ret = -ENOMEM;
	mem->vec = frame_vector_create(nr);
	if (!mem->vec)
		goto out;

	ret = pinhole_get_vaddr_frames(start & PAGE_MASK, nr,
				       !pinhole_mutant(PINHOLE_PIN_READONLY),
				       mem->vec);
	if (ret < 0)
		goto err_destroy;
	mem->nr = ret;
	if (ret != nr) {
		ret = -EFAULT;
		goto err_put;
	}
	if (pinhole_mutant(PINHOLE_LOSE_LAST_PAGE) && nr > 1)
		mem->nr--;
	ret = pinhole_map_pinned(mem);
	if (ret)
		goto err_put;
	if (trace_pinhole_pin_enabled())
		pinhole_pinned_segments(mem, &segs);
	if (pinhole_mutant(PINHOLE_UNPIN_EARLY))
		put_vaddr_frames(mem->vec);
	goto out;

err_put:
	sg_free_table(&mem->sgt);
	put_vaddr_frames(mem->vec);
err_destroy:
	frame_vector_destroy(mem->vec);
	mem->vec = NULL;
out:
	trace_pinhole_pin(start, size, mem->nr, segs.count, ret);
	return ret;
}

/**
 * pinhole_unpin() - release memory pinned by pinhole_pin()
 * @mem: memory, which the card no longer writes to
 *
 * The pages are marked dirty first, as the card may have written to all of
 * them.
 *
 * Context: Process context.
 * Return: Nothing.
 */
void pinhole_unpin(struct pinhole_mem *mem)
{
	unsigned int dirtied = 0;

	if (mem->vaddr)
		vm_unmap_ram(mem->vaddr, mem->nr);
	if (mem->dma_mapped)
		dma_unmap_sgtable(mem->dev->dma_dev, &mem->sgt,
				  PINHOLE_DMA_DIR, DMA_ATTR_SKIP_CPU_SYNC);
	sg_free_table(&mem->sgt);

	if (mem->vec->got_ref && !pinhole_mutant(PINHOLE_LEAVE_CLEAN))
		for (; dirtied < mem->nr; dirtied++)
			set_page_dirty_lock(mem->pages[dirtied]);

	if (pinhole_mutant(PINHOLE_UNPIN_TWICE))
		unpin_user_pages(mem->pages, mem->nr);
	if (pinhole_mutant(PINHOLE_LEAK_PIN)) {
		mem->vec->got_ref = false;
		mem->vec->nr_frames = 0;
	}
	trace_pinhole_unpin(mem->start, mem->nr, dirtied);
	put_vaddr_frames(mem->vec);
	frame_vector_destroy(mem->vec);
}
