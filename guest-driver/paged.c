// SPDX-License-Identifier: GPL-2.0
/*
 * Memory of vb2_vmalloc_memops, which is mapped into the kernel, and of which videobuf2
 * tells no device: its pages are described as pinned ones are.
 *
 * User pointers are such if the module's parameter says so; and MMAP memory where that
 * of vb2_dma_sg_memops does not do. Those allocate in pieces as large as there are, and
 * map each in one. A bounce buffer holds less than that in one piece; and a device
 * without VIRTIO_F_ACCESS_PLATFORM has no use for what the DMA API makes of the
 * addresses.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "pinhole.h"

/* Finds the pages that are mapped at @vaddr; -EFAULT if one is none of the kernel's. */
static int pinhole_paged_find(struct pinhole_mem *mem, const char *vaddr)
{
	unsigned long pfn;
	unsigned int i;

	for (i = 0; i < mem->nr; i++) {
		pfn = vmalloc_to_pfn(vaddr + i * PAGE_SIZE);
		/*
		 * get_vaddr_frames() of kernels without the stable updates of 2022
		 * gives PFNs of device memory, which are mapped by ioremap().
		 */
		if (!pfn_valid(pfn))
			return -EFAULT;
		mem->pages[i] = pfn_to_page(pfn);
	}
	return 0;
}

/**
 * pinhole_paged_map() - describe memory of vb2_vmalloc_memops to the device
 * @mem: such memory, whose start and size are known
 * @vb: buffer that it is of
 *
 * Context: Process context.
 * Return: 0 or a negative errno; pinhole_paged_unmap() undoes it.
 */
int pinhole_paged_map(struct pinhole_mem *mem, struct vb2_buffer *vb)
{
	const char *vaddr = pinhole_ops_vaddr(mem->ops, vb, mem->priv);
	unsigned long offset = offset_in_page(mem->start);
	int ret;

	mem->nr = PAGE_ALIGN(offset + mem->size) >> PAGE_SHIFT;
	mem->pages = kvmalloc_array(mem->nr, sizeof(*mem->pages), GFP_KERNEL);
	if (!mem->pages)
		return -ENOMEM;
	ret = pinhole_paged_find(mem, vaddr - offset);
	if (!ret)
		ret = pinhole_pages_map(mem);
	if (ret)
		pinhole_paged_unmap(mem);
	return ret;
}

/* Undoes pinhole_paged_map(); the device no longer uses the memory. */
void pinhole_paged_unmap(struct pinhole_mem *mem)
{
	pinhole_pages_unmap(mem);
	kvfree(mem->pages);
}

/* Allocates the memory of @mem; 0 or a negative errno. */
int pinhole_paged_alloc(struct pinhole_mem *mem, struct vb2_buffer *vb,
			unsigned long size)
{
	int ret;

	mem->ops = &vb2_vmalloc_memops;
	mem->priv = pinhole_ops_alloc(mem->ops, vb, mem->dev->dma.dev, size,
				      mem->dir);
	ret = PTR_ERR_OR_ZERO(mem->priv);
	if (ret)
		return ret;
	mem->size = size;
	ret = pinhole_paged_map(mem, vb);
	if (ret)
		mem->ops->put(mem->priv);
	return ret;
}
