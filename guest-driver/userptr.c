// SPDX-License-Identifier: GPL-2.0
/*
 * User pointers: whose operations take the application's memory.
 *
 * The driver's own (pin.c), or those of one of videobuf2's three models of memory.
 * Of these vb2_dma_sg_memops and vb2_dma_contig_memops map the memory for the device
 * themselves. vb2_vmalloc_memops map it into the kernel and know of no device: paged.c
 * describes the pages behind that mapping.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kernel.h>
#include <linux/moduleparam.h>
#include <linux/string.h>

#include "pinhole.h"

static const struct pinhole_model {
	const char *name;
	const struct vb2_mem_ops *ops; /* NULL: the driver's own, or none in this kernel */
} models[] = {
	{ .name = "frames" },
	{ .name = "sg", .ops = &vb2_dma_sg_memops },
	{ .name = "contig", .ops = PINHOLE_DMA_CONTIG_MEMOPS },
	{ .name = "vmalloc", .ops = &vb2_vmalloc_memops },
};

static unsigned int model;

static int pinhole_model_set(const char *val, const struct kernel_param *kp)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(models); i++) {
		if (!sysfs_streq(val, models[i].name))
			continue;
		if (i && !models[i].ops) {
			pr_err("userptr=%s: the driver was built for a kernel without that memory model\n",
			       models[i].name);
			return -EOPNOTSUPP;
		}
		WRITE_ONCE(model, i);
		return 0;
	}
	return -EINVAL;
}

static int pinhole_model_get(char *buffer, const struct kernel_param *kp)
{
	return scnprintf(buffer, PAGE_SIZE, "%s\n",
			 models[READ_ONCE(model)].name);
}

static const struct kernel_param_ops pinhole_model_ops = {
	.set = pinhole_model_set,
	.get = pinhole_model_get,
};

module_param_cb(userptr, &pinhole_model_ops, NULL, 0644);
MODULE_PARM_DESC(userptr,
		 "what takes user pointers: the driver's own operations (frames), or videobuf2's sg, contig or vmalloc (default: frames)");

/*
 * How much of a user pointer the device has use for: no more than the format's
 * plane, or the longest plane if it is not known which.
 *
 * videobuf2 does not say which plane the memory is for. It gets memory for the
 * planes in order, and takes away what there was of a plane before.
 */
static unsigned long pinhole_mem_needed(const struct pinhole_stream *stream,
					struct vb2_buffer *vb,
					unsigned long size)
{
	unsigned long needed = 0;
	unsigned int i;

	lockdep_assert_held(&stream->ctx->queue_mutex);
	for (i = 0; i < stream->num_planes; i++) {
		if (vb && i < vb->num_planes && !vb->planes[i].mem_priv)
			return min_t(unsigned long, size,
				     pinhole_plane_needed(stream, i));
		needed = max_t(unsigned long, needed,
			       pinhole_plane_needed(stream, i));
	}
	return min(size, needed);
}

/* Has operations of videobuf2 take memory; the struct pinhole_mem, or an ERR_PTR. */
static void *pinhole_userptr_lend(struct pinhole_mem *mem,
				  const struct vb2_mem_ops *ops,
				  struct vb2_buffer *vb, unsigned long vaddr,
				  unsigned long size)
{
	int ret;

	mem = pinhole_mem_wrap(mem, ops,
			       pinhole_ops_get_userptr(ops, vb,
						       mem->dev->dma.dev,
						       vaddr, size, mem->dir));
	if (IS_ERR(mem))
		return mem;
	mem->start = vaddr;
	mem->size = size;
	if (ops != &vb2_vmalloc_memops)
		return mem;
	ret = pinhole_paged_map(mem, vb);
	if (ret) {
		ops->put_userptr(mem->priv);
		kfree(mem);
		return ERR_PTR(ret);
	}
	return mem;
}

/*
 * videobuf2: takes memory for a USERPTR plane. What the application claims beyond
 * the frame is left alone. The struct pinhole_mem, or an ERR_PTR.
 */
void *pinhole_mem_get_userptr(struct vb2_buffer *vb, struct device *mem_dev,
			      unsigned long vaddr, unsigned long size)
{
	const struct vb2_mem_ops *ops = models[READ_ONCE(model)].ops;
	struct pinhole_mem *mem = pinhole_mem_new(mem_dev);
	int ret;

	if (!mem)
		return ERR_PTR(-ENOMEM);
	size = pinhole_mem_needed(mem->stream, vb, size);
	if (ops)
		return pinhole_userptr_lend(mem, ops, vb, vaddr, size);
	ret = pinhole_pin(mem, vaddr, size);
	if (ret) {
		kfree(mem);
		return ERR_PTR(ret);
	}
	return mem;
}

/* videobuf2: the application's memory is of no more use. */
void pinhole_mem_put_userptr(void *priv)
{
	struct pinhole_mem *mem = priv;

	pinhole_cmd_release(mem->cmd);
	if (!mem->ops) {
		pinhole_unpin(mem);
	} else {
		if (mem->pages)
			pinhole_paged_unmap(mem);
		mem->ops->put_userptr(mem->priv);
	}
	kfree(mem);
}
