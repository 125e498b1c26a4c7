// SPDX-License-Identifier: GPL-2.0
/*
 * Pinned user memory: the application's own, pinned by get_vaddr_frames()
 * and described page by page.
 */
#include <linux/dma-mapping.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "pinhole.h"
#include "trace.h"

/* Describes pinned memory to the device. */
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

/*
 * Ends of the first runs of contiguous pages, which are remembered while the
 * pages are walked: memory of that few runs, such as that in huge pages, is
 * walked once.
 */
#define PINHOLE_KNOWN_RUNS 32

/*
 * The page after the run of contiguous pages that begins with the page @first and
 * has @max pages at most.
 */
static unsigned int pinhole_run_end(const struct pinhole_mem *mem,
				    unsigned int first, unsigned int max)
{
	unsigned long pfn = page_to_pfn(mem->pages[first]);
	unsigned int nr = min(mem->nr - first, max);
	unsigned int i = 1;

	while (i < nr && page_to_pfn(mem->pages[first + i]) == pfn + i)
		i++;
	return first + i;
}

/* How much of the buffer lies in the pages from @first to before @next. */
static size_t pinhole_run_length(const struct pinhole_mem *mem,
				 unsigned int first, unsigned int next)
{
	unsigned long base = mem->start & PAGE_MASK;
	unsigned long from = max(mem->start, base + first * PAGE_SIZE);

	return min(mem->start + mem->size, base + next * PAGE_SIZE) - from;
}

/*
 * With the DMA API in the path no segment is longer than what it can map in one
 * piece: a bounce buffer is only so long.
 */
static int pinhole_build_sgt(struct pinhole_mem *mem)
{
	unsigned int ends[PINHOLE_KNOWN_RUNS];
	size_t max = PINHOLE_MAX_SEGMENT;
	unsigned int i, run, next, count = 0;
	struct scatterlist *sg;
	int ret;

	if (mem->dev->dma.use)
		max = min3(max, dma_max_mapping_size(mem->dev->dma.dev),
			   (size_t)dma_get_max_seg_size(mem->dev->dma.dev));
	max = max_t(size_t, max >> PAGE_SHIFT, 1);

	for (i = 0; i < mem->nr; i = next, count++) {
		next = pinhole_run_end(mem, i, max);
		if (count < ARRAY_SIZE(ends))
			ends[count] = next;
	}
	ret = sg_alloc_table(&mem->sgt, count, GFP_KERNEL);
	if (ret)
		return ret;

	i = 0;
	for_each_sgtable_sg(&mem->sgt, sg, run) {
		next = run < ARRAY_SIZE(ends) ? ends[run] :
		       pinhole_run_end(mem, i, max);
		sg_set_page(sg, mem->pages[i], pinhole_run_length(mem, i, next),
			    i ? 0 : offset_in_page(mem->start));
		i = next;
	}
	return 0;
}

/**
 * pinhole_pages_map() - make a scatter list of pages, for the device
 * @mem: memory whose pages are known
 *
 * Without VIRTIO_F_ACCESS_PLATFORM the device is given guest-physical addresses,
 * and the DMA API is left out: what it may do to the addresses is not what the
 * device does.
 *
 * Return: 0 or a negative errno; pinhole_pages_unmap() undoes either.
 */
int pinhole_pages_map(struct pinhole_mem *mem)
{
	struct pinhole_device *dev = mem->dev;
	int ret = pinhole_build_sgt(mem);

	if (ret || !dev->dma.use)
		return ret;

	/* The caches are synchronised by prepare and finish. */
	ret = dma_map_sgtable(dev->dma.dev, &mem->sgt, mem->dir,
			      DMA_ATTR_SKIP_CPU_SYNC);
	mem->dma_mapped = !ret;
	return ret;
}

/* Undoes pinhole_pages_map(); the device no longer uses the pages. */
void pinhole_pages_unmap(struct pinhole_mem *mem)
{
	if (mem->dma_mapped)
		dma_unmap_sgtable(mem->dev->dma.dev, &mem->sgt, mem->dir,
				  DMA_ATTR_SKIP_CPU_SYNC);
	sg_free_table(&mem->sgt);
}

/*
 * Frames without a reference are refused: old kernels give them for mappings
 * without pages (VM_PFNMAP), and nothing would keep them from being used for
 * something else when the process unmaps them.
 */
static int pinhole_map_pinned(struct pinhole_mem *mem)
{
	struct page **pages;

	if (!mem->vec->got_ref)
		return -EFAULT;
	pages = frame_vector_pages(mem->vec);
	if (IS_ERR(pages))
		return -EFAULT;
	mem->pages = pages;
	return pinhole_pages_map(mem);
}

/**
 * pinhole_pin() - pin memory of the caller's for the device
 * @mem: description of a plane's memory, which has none yet
 * @start: address of its first byte
 * @size: length in bytes
 *
 * All or nothing: a range that can be pinned in part only, as it is when it
 * runs across mappings of different kinds, is refused. Since 6.2 memory that the
 * device only reads may be read-only to the process as well.
 *
 * Context: Process context, of the process whose memory it is.
 * Return: 0 or a negative errno; pinhole_unpin() undoes it.
 */
int pinhole_pin(struct pinhole_mem *mem, unsigned long start,
		unsigned long size)
{
	unsigned long nr = ((start + size - 1) >> PAGE_SHIFT) -
			   (start >> PAGE_SHIFT) + 1;
	struct pinhole_segments segs = { .left = size };
	int ret = -EFAULT;

	mem->start = start;
	mem->size = size;
	if (start + size < start || !access_ok((void __user *)start, size))
		goto out;

	ret = -ENOMEM;
	mem->vec = frame_vector_create(nr);
	if (!mem->vec)
		goto out;

	ret = pinhole_get_vaddr_frames(start & PAGE_MASK, nr,
				       mem->dir == DMA_FROM_DEVICE, mem->vec);
	if (ret < 0)
		goto err_destroy;
	mem->nr = ret;
	if (ret != nr) {
		ret = -EFAULT;
		goto err_put;
	}
	ret = pinhole_map_pinned(mem);
	if (ret)
		goto err_put;
	if (trace_pinhole_pin_enabled())
		pinhole_pinned_segments(mem, &segs);
	goto out;

err_put:
	pinhole_pages_unmap(mem);
	put_vaddr_frames(mem->vec);
err_destroy:
	frame_vector_destroy(mem->vec);
	mem->vec = NULL;
out:
	trace_pinhole_pin(start, size, mem->nr, segs.count, ret);
	return ret;
}

/* Allocates the description of a plane's memory; @mem_dev is that of its stream. */
struct pinhole_mem *pinhole_mem_new(struct device *mem_dev)
{
	struct pinhole_mem *mem = kzalloc(sizeof(*mem), GFP_KERNEL);

	if (!mem)
		return NULL;
	mem->stream = container_of(mem_dev, struct pinhole_stream, mem_dev);
	mem->dev = mem->stream->dev;
	mem->dir = pinhole_dma_dir(mem->stream);
	return mem;
}

/*
 * Hands pinned memory from the processor to the device: a bounce buffer has what the
 * process has written so far, and no later.
 */
void pinhole_pinned_prepare(struct pinhole_mem *mem)
{
	if (mem->dma_mapped)
		dma_sync_sgtable_for_device(mem->dev->dma.dev, &mem->sgt,
					    mem->dir);
}

/* Hands pinned memory from the device to the processor. */
void pinhole_pinned_finish(struct pinhole_mem *mem)
{
	if (mem->dma_mapped)
		dma_sync_sgtable_for_cpu(mem->dev->dma.dev, &mem->sgt,
					 mem->dir);
}

/*
 * Unpins the pages, run by run: put_vaddr_frames() would take each by itself. If the
 * device may have written to them all are marked dirty. The pages are those of the
 * frame vector, which has none to put afterwards.
 */
static void pinhole_put_pages(struct pinhole_mem *mem, bool dirty)
{
	unsigned int i, next;

	for (i = 0; i < mem->nr; i = next) {
		next = pinhole_run_end(mem, i, mem->nr);
		pinhole_unpin_pages(&mem->pages[i], next - i, dirty);
	}
	mem->vec->got_ref = false;
}

/* Releases pinned memory that the device no longer uses. */
void pinhole_unpin(struct pinhole_mem *mem)
{
	bool dirty = mem->dir == DMA_FROM_DEVICE;
	bool pinned = mem->vec->got_ref;

	if (mem->vaddr)
		vm_unmap_ram(mem->vaddr, mem->nr);
	pinhole_pages_unmap(mem);

	trace_pinhole_unpin(mem->start, mem->nr, pinned && dirty ? mem->nr : 0);
	if (pinned)
		pinhole_put_pages(mem, dirty);
	put_vaddr_frames(mem->vec);
	frame_vector_destroy(mem->vec);
}
