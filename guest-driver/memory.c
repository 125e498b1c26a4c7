// SPDX-License-Identifier: GPL-2.0
/*
 * Memory operations for videobuf2.
 *
 * MMAP and DMABUF memory is that of vb2_dma_sg_memops, and so is USERPTR memory
 * if the module's parameter says so; other USERPTR memory is pinned by
 * userptr.c. Around both there is a struct pinhole_mem, which knows where the
 * memory comes from, and which keeps it from being freed while a card that
 * stopped answering may still write to it.
 */
#include <linux/dma-mapping.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "command.h"
#include "memory.h"
#include "mutant.h"
#include "pinhole.h"

/**
 * pinhole_mem_new() - allocate the description of a plane's memory
 * @dev: the queue's device: the virtio device
 *
 * Context: Process context.
 * Return: The description, or NULL.
 */
static struct pinhole_mem *pinhole_mem_new(struct device *dev)
{
	struct pinhole_mem *mem = kzalloc(sizeof(*mem), GFP_KERNEL);

	if (mem)
		mem->dev = dev_to_virtio(dev)->priv;
	return mem;
}

/**
 * pinhole_mem_wrap() - finish a description, or throw it away
 * @mem: description
 * @sg_priv: memory of vb2_dma_sg_memops, NULL or an ERR_PTR
 *
 * Context: Process context.
 * Return: The description, or an ERR_PTR.
 */
static void *pinhole_mem_wrap(struct pinhole_mem *mem, void *sg_priv)
{
	if (IS_ERR_OR_NULL(sg_priv)) {
		kfree(mem);
		return sg_priv ? sg_priv : ERR_PTR(-ENOMEM);
	}
	mem->sg_priv = sg_priv;
	return mem;
}

/**
 * pinhole_mem_free() - free memory
 * @mem: memory, which the card no longer writes to
 *
 * Context: Process context.
 * Return: Nothing.
 */
static void pinhole_mem_free(struct pinhole_mem *mem)
{
	if (!mem->sg_priv) {
		pinhole_unpin(mem);
	} else if (mem->dbuf) {
		if (mem->mapped)
			vb2_dma_sg_memops.unmap_dmabuf(mem->sg_priv);
		vb2_dma_sg_memops.detach_dmabuf(mem->sg_priv);
		dma_buf_put(mem->dbuf);
	} else if (mem->userptr) {
		vb2_dma_sg_memops.put_userptr(mem->sg_priv);
	} else {
		vb2_dma_sg_memops.put(mem->sg_priv);
	}
	kfree(mem);
}

/**
 * pinhole_mem_put() - videobuf2 has no more use for memory of any kind
 * @priv: memory
 *
 * The buffer is there longer than its memory, and the command that describes
 * the memory goes with it.
 *
 * Context: Process context.
 * Return: Nothing. Memory that is held is freed after the reset.
 */
static void pinhole_mem_put(void *priv)
{
	struct pinhole_mem *mem = priv;
	struct pinhole_device *dev = mem->dev;
	unsigned long flags;
	bool held;

	if (mem->buf) {
		pinhole_cmd_release(dev, mem->buf->cmd);
		mem->buf->cmd = NULL;
		mem->buf = NULL;
	}

	spin_lock_irqsave(&dev->lock, flags);
	held = mem->held && !dev->was_reset;
	if (held)
		list_add_tail(&mem->node, &dev->held_mem);
	spin_unlock_irqrestore(&dev->lock, flags);

	if (!held)
		pinhole_mem_free(mem);
}

/**
 * pinhole_mem_hold() - the card may write to a buffer's memory until a reset
 * @vb: buffer
 *
 * Context: Process context.
 * Return: Nothing.
 */
void pinhole_mem_hold(struct vb2_buffer *vb)
{
	struct pinhole_mem *mem;
	unsigned int i;

	for (i = 0; i < vb->num_planes; i++) {
		mem = vb2_plane_cookie(vb, i);
		if (!IS_ERR_OR_NULL(mem))
			mem->held = true;
	}
}

/**
 * pinhole_mem_free_held() - free held memory, now that the card was reset
 * @dev: device
 *
 * Context: Process context. Takes the device's lock.
 * Return: Nothing.
 */
void pinhole_mem_free_held(struct pinhole_device *dev)
{
	struct pinhole_mem *mem, *tmp;
	unsigned long flags;
	LIST_HEAD(held);

	spin_lock_irqsave(&dev->lock, flags);
	dev->was_reset = true;
	list_splice_init(&dev->held_mem, &held);
	spin_unlock_irqrestore(&dev->lock, flags);

	list_for_each_entry_safe(mem, tmp, &held, node)
		pinhole_mem_free(mem);
}

/**
 * pinhole_mem_segments() - describe memory to the card
 * @mem: memory
 * @length: length of the plane in bytes
 * @entries: where the scatter entries go; NULL to count them only
 * @max: room in @entries
 *
 * Addresses are DMA addresses if the card is behind the DMA API, else
 * guest-physical ones. vb2_dma_sg_memops maps through the DMA API in any case,
 * and an imported dma-buf has no other addresses; they can be used for a card
 * that wants guest-physical ones only where both are the same.
 *
 * Context: Any.
 * Return: Number of entries, or a negative errno.
 */
int pinhole_mem_segments(struct pinhole_mem *mem, size_t length,
			 struct virtio_media_sg_entry *entries,
			 unsigned int max)
{
	struct pinhole_segments segs = {
		.entries = entries,
		.max = entries ? max : 0,
		.left = length,
	};
	struct pinhole_device *dev = mem->dev;
	struct scatterlist *sg;
	struct sg_table *sgt;
	unsigned int i;

	if (pinhole_mutant(PINHOLE_ROUND_UP) && !mem->sg_priv)
		segs.left = mem->size;
	if (mem->sg_priv && !dev->use_dma && !dev->dma_identity) {
		dev_err_once(&dev->vdev->dev,
			     "the DMA API translates addresses: only user pointers can be used without VIRTIO_F_ACCESS_PLATFORM\n");
		return -EIO;
	}
	if (!mem->sg_priv) {
		pinhole_pinned_segments(mem, &segs);
	} else {
		sgt = pinhole_sg_cookie(NULL, mem->sg_priv);
		if (IS_ERR_OR_NULL(sgt))
			return -EINVAL;
		for_each_sgtable_dma_sg(sgt, sg, i)
			pinhole_segments_add(&segs, sg_dma_address(sg),
					     sg_dma_len(sg));
	}
	if (segs.left && !pinhole_mutant(PINHOLE_LOSE_LAST_PAGE))
		return -EINVAL;
	if (entries && segs.count != max)
		return -EINVAL;
	return segs.count;
}

/**
 * pinhole_mem_alloc() - allocate memory for an MMAP plane
 * @vb: buffer
 * @dev: the queue's device
 * @size: length in bytes, page-aligned
 *
 * Context: Process context.
 * Return: Memory, or an ERR_PTR.
 */
void *pinhole_mem_alloc(struct vb2_buffer *vb, struct device *dev,
			unsigned long size)
{
	struct pinhole_mem *mem = pinhole_mem_new(dev);

	if (!mem)
		return ERR_PTR(-ENOMEM);
	return pinhole_mem_wrap(mem, pinhole_sg_alloc(vb, mem->dev->dma_dev,
						      size));
}

/**
 * pinhole_mem_needed() - how much of a user pointer the card can write to
 * @dev: device
 * @vb: buffer; NULL before 5.16
 * @size: length that the application claims, in bytes
 *
 * videobuf2 does not say which plane the memory is for. It gets memory for the
 * planes in order, and takes away what there was of a plane before.
 *
 * Context: Process context; queue_mutex is held.
 * Return: Length in bytes: no more than that of the format's plane, or of its
 * longest if it is not known which.
 */
static unsigned long pinhole_mem_needed(struct pinhole_device *dev,
					struct vb2_buffer *vb,
					unsigned long size)
{
	unsigned long needed = 0;
	unsigned int i;

	for (i = 0; i < dev->num_planes; i++) {
		if (vb && i < vb->num_planes && !vb->planes[i].mem_priv)
			return min_t(unsigned long, size, dev->plane_sizes[i]);
		needed = max_t(unsigned long, needed, dev->plane_sizes[i]);
	}
	return min(size, needed);
}

/**
 * pinhole_mem_get_userptr() - pin memory for a USERPTR plane
 * @vb: buffer
 * @dev: the queue's device
 * @vaddr: first address
 * @size: length in bytes
 *
 * What the application claims beyond the frame is left alone.
 *
 * Context: Process context, of the process whose memory it is.
 * Return: Memory, or an ERR_PTR.
 */
void *pinhole_mem_get_userptr(struct vb2_buffer *vb, struct device *dev,
			      unsigned long vaddr, unsigned long size)
{
	struct pinhole_mem *mem = pinhole_mem_new(dev);
	int ret;

	if (!mem)
		return ERR_PTR(-ENOMEM);
	mem->userptr = true;
	size = pinhole_mem_needed(mem->dev, vb, size);
	if (pinhole_native_userptr())
		return pinhole_mem_wrap(mem,
					pinhole_sg_get_userptr(vb,
							       mem->dev->dma_dev,
							       vaddr, size));
	ret = pinhole_pin(mem, vaddr, size);
	if (ret) {
		kfree(mem);
		return ERR_PTR(ret);
	}
	return mem;
}

/**
 * pinhole_mem_attach_dmabuf() - attach a dma-buf for a DMABUF plane
 * @vb: buffer
 * @dev: the queue's device
 * @dbuf: dma-buf
 * @size: length in bytes
 *
 * Context: Process context.
 * Return: Memory, or an ERR_PTR.
 */
void *pinhole_mem_attach_dmabuf(struct vb2_buffer *vb, struct device *dev,
				struct dma_buf *dbuf, unsigned long size)
{
	struct pinhole_mem *mem = pinhole_mem_new(dev);
	void *ret;

	if (!mem)
		return ERR_PTR(-ENOMEM);
	ret = pinhole_mem_wrap(mem,
			       pinhole_sg_attach_dmabuf(vb, mem->dev->dma_dev,
							dbuf, size));
	if (!IS_ERR(ret)) {
		/* videobuf2 drops its own reference when it detaches. */
		get_dma_buf(dbuf);
		mem->dbuf = dbuf;
	}
	return ret;
}

/**
 * pinhole_mem_map_dmabuf() - map an attached dma-buf
 * @priv: memory
 *
 * Context: Process context.
 * Return: 0 or a negative errno.
 */
static int pinhole_mem_map_dmabuf(void *priv)
{
	struct pinhole_mem *mem = priv;
	int ret;

	if (mem->mapped)
		return 0;
	ret = vb2_dma_sg_memops.map_dmabuf(mem->sg_priv);
	mem->mapped = !ret;
	return ret;
}

/**
 * pinhole_mem_unmap_dmabuf() - unmap an attached dma-buf
 * @priv: memory; if it is held it stays mapped until it is freed
 *
 * Context: Process context.
 * Return: Nothing.
 */
static void pinhole_mem_unmap_dmabuf(void *priv)
{
	struct pinhole_mem *mem = priv;

	if (mem->held)
		return;
	vb2_dma_sg_memops.unmap_dmabuf(mem->sg_priv);
	mem->mapped = false;
}

/**
 * pinhole_mem_get_dmabuf() - export MMAP memory as a dma-buf
 * @vb: buffer
 * @priv: memory
 * @flags: access flags
 *
 * Context: Process context.
 * Return: The dma-buf, or NULL.
 */
struct dma_buf *pinhole_mem_get_dmabuf(struct vb2_buffer *vb, void *priv,
				       unsigned long flags)
{
	struct pinhole_mem *mem = priv;

	return pinhole_sg_get_dmabuf(vb, mem->sg_priv, flags);
}

/**
 * pinhole_mem_prepare() - hand memory from the CPU to the card
 * @priv: memory
 *
 * Context: Process context.
 * Return: Nothing.
 */
static void pinhole_mem_prepare(void *priv)
{
	struct pinhole_mem *mem = priv;

	if (mem->sg_priv)
		vb2_dma_sg_memops.prepare(mem->sg_priv);
	else if (mem->dma_mapped)
		dma_sync_sgtable_for_device(mem->dev->dma_dev, &mem->sgt,
					    PINHOLE_DMA_DIR);
}

/**
 * pinhole_mem_finish() - hand memory from the card to the CPU
 * @priv: memory
 *
 * Context: Any.
 * Return: Nothing.
 */
static void pinhole_mem_finish(void *priv)
{
	struct pinhole_mem *mem = priv;

	if (mem->sg_priv)
		vb2_dma_sg_memops.finish(mem->sg_priv);
	else if (mem->dma_mapped && pinhole_mutant(PINHOLE_WRONG_SYNC))
		pinhole_mem_prepare(mem);
	else if (mem->dma_mapped)
		dma_sync_sgtable_for_cpu(mem->dev->dma_dev, &mem->sgt,
					 PINHOLE_DMA_DIR);
}

/**
 * pinhole_mem_vaddr() - kernel address of memory
 * @vb: buffer
 * @priv: memory
 *
 * Context: Process context.
 * Return: The address of the first byte, or NULL.
 */
void *pinhole_mem_vaddr(struct vb2_buffer *vb, void *priv)
{
	struct pinhole_mem *mem = priv;

	if (mem->sg_priv)
		return pinhole_sg_vaddr(vb, mem->sg_priv);
	if (!mem->vaddr)
		mem->vaddr = vm_map_ram(mem->pages, mem->nr, NUMA_NO_NODE);
	return mem->vaddr ? mem->vaddr + offset_in_page(mem->start) : NULL;
}

/**
 * pinhole_mem_cookie() - what vb2_plane_cookie() returns
 * @vb: buffer
 * @priv: memory
 *
 * Context: Any.
 * Return: The struct pinhole_mem.
 */
void *pinhole_mem_cookie(struct vb2_buffer *vb, void *priv)
{
	return priv;
}

/**
 * pinhole_mem_num_users() - number of users of memory
 * @priv: memory
 *
 * Context: Any.
 * Return: Number of users, the queue included.
 */
static unsigned int pinhole_mem_num_users(void *priv)
{
	struct pinhole_mem *mem = priv;

	return mem->sg_priv ? vb2_dma_sg_memops.num_users(mem->sg_priv) : 1;
}

/**
 * pinhole_mem_mmap() - map MMAP memory into a process
 * @priv: memory
 * @vma: where
 *
 * Context: Process context.
 * Return: 0 or a negative errno.
 */
static int pinhole_mem_mmap(void *priv, struct vm_area_struct *vma)
{
	struct pinhole_mem *mem = priv;

	return vb2_dma_sg_memops.mmap(mem->sg_priv, vma);
}

const struct vb2_mem_ops pinhole_mem_ops = {
	.alloc = PINHOLE_MEM_OP(alloc),
	.put = pinhole_mem_put,
	.get_dmabuf = PINHOLE_MEM_OP(get_dmabuf),
	.get_userptr = PINHOLE_MEM_OP(get_userptr),
	.put_userptr = pinhole_mem_put,
	.prepare = pinhole_mem_prepare,
	.finish = pinhole_mem_finish,
	.attach_dmabuf = PINHOLE_MEM_OP(attach_dmabuf),
	.detach_dmabuf = pinhole_mem_put,
	.map_dmabuf = pinhole_mem_map_dmabuf,
	.unmap_dmabuf = pinhole_mem_unmap_dmabuf,
	.vaddr = PINHOLE_MEM_OP(vaddr),
	.cookie = PINHOLE_MEM_OP(cookie),
	.num_users = pinhole_mem_num_users,
	.mmap = pinhole_mem_mmap,
};
