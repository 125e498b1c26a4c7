// SPDX-License-Identifier: GPL-2.0
/*
 * MMAP memory of single pages.
 *
 * vb2_dma_sg_memops allocates in pieces as large as there are, and maps each in
 * one. A bounce buffer holds less than that in one piece; and a device without
 * VIRTIO_F_ACCESS_PLATFORM has no use for what the DMA API makes of the addresses.
 * Where it is so the memory is that of vb2_vmalloc_memops, which also maps it into
 * processes and exports it, and its pages are described to the device as pinned
 * ones are.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "pinhole.h"

/* Allocates the memory of @mem; 0 or a negative errno. */
int pinhole_paged_alloc(struct pinhole_mem *mem, struct vb2_buffer *vb,
			unsigned long size)
{
	unsigned int i, nr = PAGE_ALIGN(size) >> PAGE_SHIFT;
	char *vaddr;
	void *priv;
	int ret;

	mem->pages = kvmalloc_array(nr, sizeof(*mem->pages), GFP_KERNEL);
	if (!mem->pages)
		return -ENOMEM;
	priv = pinhole_vm_alloc(vb, mem->dev->dma.dev, size, mem->dir);
	ret = PTR_ERR_OR_ZERO(priv);
	if (ret)
		goto err_pages;

	vaddr = pinhole_vm_vaddr(vb, priv);
	for (i = 0; i < nr; i++)
		mem->pages[i] = vmalloc_to_page(vaddr + i * PAGE_SIZE);
	mem->nr = nr;
	mem->size = size;
	ret = pinhole_pages_map(mem);
	if (ret)
		goto err_put;
	mem->vm_priv = priv;
	return 0;

err_put:
	pinhole_pages_unmap(mem);
	vb2_vmalloc_memops.put(priv);
err_pages:
	kvfree(mem->pages);
	return ret;
}

/* The device has no more use for the memory; who has mapped it may have. */
void pinhole_paged_free(struct pinhole_mem *mem)
{
	pinhole_pages_unmap(mem);
	kvfree(mem->pages);
	vb2_vmalloc_memops.put(mem->vm_priv);
}
