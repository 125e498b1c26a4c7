// SPDX-License-Identifier: GPL-2.0
/*
 * Memory operations for videobuf2.
 *
 * DMABUF memory is that of vb2_dma_sg_memops. USERPTR memory is that of userptr.c. MMAP
 * memory is that of vb2_dma_sg_memops, of paged.c where those do not do, or the device's
 * own of region.c. Around all there is a struct pinhole_mem, which knows where the
 * memory comes from.
 */
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "pinhole.h"

/* videobuf2: memory that was allocated here is of no more use. */
static void pinhole_mem_put(void *priv)
{
	struct pinhole_mem *mem = priv;

	mem->stream->allocated--;
	pinhole_cmd_release(mem->cmd);
	if (mem->own) {
		pinhole_region_put(mem);
		return;
	}
	if (mem->pages)
		pinhole_paged_unmap(mem);
	mem->ops->put(mem->priv);
	kfree(mem);
}

/* videobuf2: likewise, of a dma-buf, which is not mapped any more. */
static void pinhole_mem_detach_dmabuf(void *priv)
{
	struct pinhole_mem *mem = priv;

	pinhole_cmd_release(mem->cmd);
	mem->ops->detach_dmabuf(mem->priv);
	kfree(mem);
}

/* Describes to the device what the operations of videobuf2 have mapped for it. */
static int pinhole_mapped_segments(struct pinhole_mem *mem,
				   struct pinhole_segments *segs)
{
	void *cookie = pinhole_ops_cookie(mem->ops, NULL, mem->priv);
	struct scatterlist *sg;
	struct sg_table *sgt;
	unsigned int i;

	if (IS_ERR_OR_NULL(cookie))
		return -EINVAL;
	if (mem->ops != &vb2_dma_sg_memops) {
		/* vb2_dma_contig_memops have it in one piece. */
		pinhole_segments_add(segs, *(dma_addr_t *)cookie, mem->size);
		return 0;
	}
	sgt = cookie;
	for_each_sgtable_dma_sg(sgt, sg, i)
		pinhole_segments_add(segs, sg_dma_address(sg), sg_dma_len(sg));
	return 0;
}

/**
 * pinhole_mem_segments() - describe memory to the device
 * @mem: memory
 * @length: length of the plane in bytes
 * @entries: where the scatter entries go; NULL to count them only
 * @max: room in @entries
 *
 * Addresses are DMA addresses if the device is behind the DMA API, else
 * guest-physical ones. videobuf2's sg and contig map through the DMA API in any
 * case, and an imported dma-buf has no other addresses; they can be used for a
 * device that wants guest-physical ones only where both are the same.
 *
 * Return: Number of entries, or a negative errno. The device's own memory needs
 * none.
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
	int ret = 0;

	if (mem->own)
		return 0;
	if (!mem->pages && !dev->dma.use && !dev->dma.identity) {
		dev_err_once(&dev->vdev->dev,
			     "the DMA API translates addresses: DMABUF, and user pointers of videobuf2's sg and contig, take VIRTIO_F_ACCESS_PLATFORM\n");
		return -EIO;
	}
	if (mem->pages)
		pinhole_pinned_segments(mem, &segs);
	else
		ret = pinhole_mapped_segments(mem, &segs);
	if (ret)
		return ret;
	if (segs.left)
		return -EINVAL;
	if (entries && segs.count != max)
		return -EINVAL;
	return segs.count;
}

/* Memory of the guest's. */
static struct pinhole_mem *pinhole_mem_alloc_guest(struct vb2_buffer *vb,
						   struct device *mem_dev,
						   unsigned long size)
{
	const struct vb2_mem_ops *ops = &vb2_dma_sg_memops;
	struct pinhole_mem *mem = pinhole_mem_new(mem_dev);
	int ret;

	if (!mem)
		return ERR_PTR(-ENOMEM);
	if (!mem->dev->dma.paged)
		return pinhole_mem_wrap(mem, ops,
					pinhole_ops_alloc(ops, vb,
							  mem->dev->dma.dev,
							  size, mem->dir));
	ret = pinhole_paged_alloc(mem, vb, size);
	if (ret) {
		kfree(mem);
		return ERR_PTR(ret);
	}
	return mem;
}

void *pinhole_mem_alloc(struct vb2_buffer *vb, struct device *mem_dev,
			unsigned long size)
{
	struct pinhole_stream *stream = container_of(mem_dev,
						     struct pinhole_stream,
						     mem_dev);
	struct pinhole_mem *mem;

	mem = stream->dev->region.used ? pinhole_region_alloc(stream, size) :
					 pinhole_mem_alloc_guest(vb, mem_dev, size);
	if (!IS_ERR(mem))
		stream->allocated++;
	return mem;
}

void *pinhole_mem_attach_dmabuf(struct vb2_buffer *vb, struct device *mem_dev,
				struct dma_buf *dbuf, unsigned long size)
{
	const struct vb2_mem_ops *ops = &vb2_dma_sg_memops;
	struct pinhole_mem *mem = pinhole_mem_new(mem_dev);

	if (!mem)
		return ERR_PTR(-ENOMEM);
	return pinhole_mem_wrap(mem, ops,
				pinhole_ops_attach_dmabuf(ops, vb,
							  mem->dev->dma.dev,
							  dbuf, size,
							  mem->dir));
}

static int pinhole_mem_map_dmabuf(void *priv)
{
	struct pinhole_mem *mem = priv;

	return mem->ops->map_dmabuf(mem->priv);
}

static void pinhole_mem_unmap_dmabuf(void *priv)
{
	struct pinhole_mem *mem = priv;

	mem->ops->unmap_dmabuf(mem->priv);
}

/* videobuf2 takes NULL as the answer that there is no dma-buf. */
struct dma_buf *pinhole_mem_get_dmabuf(struct vb2_buffer *vb, void *priv,
				       unsigned long flags)
{
	struct pinhole_mem *mem = priv;

	if (mem->own)
		return NULL;
	return pinhole_ops_get_dmabuf(mem->ops, vb, mem->priv, flags);
}

/* videobuf2: a buffer is about to be queued, and is the device's from here on. */
static void pinhole_mem_prepare(void *priv)
{
	struct pinhole_mem *mem = priv;

	if (mem->pages)
		pinhole_pinned_prepare(mem);
	else if (mem->ops)
		mem->ops->prepare(mem->priv);
}

/* videobuf2: the device has given it back. There is nothing to do for output. */
static void pinhole_mem_finish(void *priv)
{
	struct pinhole_mem *mem = priv;

	if (mem->pages)
		pinhole_pinned_finish(mem);
	else if (mem->ops)
		mem->ops->finish(mem->priv);
}

void *pinhole_mem_vaddr(struct vb2_buffer *vb, void *priv)
{
	struct pinhole_mem *mem = priv;

	if (mem->ops)
		return pinhole_ops_vaddr(mem->ops, vb, mem->priv);
	if (!mem->vaddr)
		mem->vaddr = vm_map_ram(mem->pages, mem->nr, NUMA_NO_NODE);
	return mem->vaddr ? mem->vaddr + offset_in_page(mem->start) : NULL;
}

/* What vb2_plane_cookie() returns: the struct pinhole_mem. */
void *pinhole_mem_cookie(struct vb2_buffer *vb, void *priv)
{
	return priv;
}

static unsigned int pinhole_mem_num_users(void *priv)
{
	struct pinhole_mem *mem = priv;

	if (mem->own)
		return pinhole_region_num_users(mem);
	return mem->ops ? mem->ops->num_users(mem->priv) : 1;
}

static int pinhole_mem_mmap(void *priv, struct vm_area_struct *vma)
{
	struct pinhole_mem *mem = priv;

	if (mem->own)
		return pinhole_region_mmap(mem, vma);
	return mem->ops->mmap(mem->priv, vma);
}

const struct vb2_mem_ops pinhole_mem_ops = {
	.alloc = PINHOLE_MEM_OP(alloc),
	.put = pinhole_mem_put,
	.get_dmabuf = PINHOLE_MEM_OP(get_dmabuf),
	.get_userptr = PINHOLE_MEM_OP(get_userptr),
	.put_userptr = pinhole_mem_put_userptr,
	.prepare = pinhole_mem_prepare,
	.finish = pinhole_mem_finish,
	.attach_dmabuf = PINHOLE_MEM_OP(attach_dmabuf),
	.detach_dmabuf = pinhole_mem_detach_dmabuf,
	.map_dmabuf = pinhole_mem_map_dmabuf,
	.unmap_dmabuf = pinhole_mem_unmap_dmabuf,
	.vaddr = PINHOLE_MEM_OP(vaddr),
	.cookie = PINHOLE_MEM_OP(cookie),
	.num_users = pinhole_mem_num_users,
	.mmap = pinhole_mem_mmap,
};
