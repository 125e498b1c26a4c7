// SPDX-License-Identifier: GPL-2.0
/*
 * Deliberate bugs between the driver's files: the linker leads calls of these
 * functions to what stands here (Kbuild), and the driver's own files know
 * nothing of it. None of the bugs changes what an application sees: it takes a
 * kernel that checks itself to see them.
 */
#include <linux/dma-mapping.h>
#include <linux/virtio.h>

#include "command.h"
#include "memory.h"
#include "mutant.h"
#include "pinhole.h"

int __real_pinhole_pin(struct pinhole_mem *mem, unsigned long start,
		       unsigned long size);
int __wrap_pinhole_pin(struct pinhole_mem *mem, unsigned long start,
		       unsigned long size);
void __real_pinhole_unpin(struct pinhole_mem *mem);
void __wrap_pinhole_unpin(struct pinhole_mem *mem);
void __real_pinhole_cmd_release(struct pinhole_device *dev,
				struct pinhole_cmd *cmd);
void __wrap_pinhole_cmd_release(struct pinhole_device *dev,
				struct pinhole_cmd *cmd);
void __real_pinhole_events_drain(struct pinhole_device *dev);
void __wrap_pinhole_events_drain(struct pinhole_device *dev);
int __real_pinhole_s_fmt(struct file *file, void *priv, struct v4l2_format *f);
int __wrap_pinhole_s_fmt(struct file *file, void *priv, struct v4l2_format *f);
int __real_virtqueue_add_sgs(struct virtqueue *vq, struct scatterlist *sgs[],
			     unsigned int out, unsigned int in, void *data,
			     gfp_t gfp);
int __wrap_virtqueue_add_sgs(struct virtqueue *vq, struct scatterlist *sgs[],
			     unsigned int out, unsigned int in, void *data,
			     gfp_t gfp);

/* Pinned memory that the DMA API maps is mapped for the other direction. */
int __wrap_pinhole_pin(struct pinhole_mem *mem, unsigned long start,
		       unsigned long size)
{
	int ret = __real_pinhole_pin(mem, start, size);

	if (ret || !mem->dma_mapped || !pinhole_mutant(PINHOLE_WRONG_DIRECTION))
		return ret;
	dma_unmap_sgtable(mem->dev->dma_dev, &mem->sgt, PINHOLE_DMA_DIR,
			  DMA_ATTR_SKIP_CPU_SYNC);
	ret = dma_map_sgtable(mem->dev->dma_dev, &mem->sgt, DMA_TO_DEVICE,
			      DMA_ATTR_SKIP_CPU_SYNC);
	if (ret) {
		mem->dma_mapped = false;
		__real_pinhole_unpin(mem);
	}
	return ret;
}

/* Once unmapped it is unmapped again, or it is not unmapped at all. */
void __wrap_pinhole_unpin(struct pinhole_mem *mem)
{
	if (mem->dma_mapped && pinhole_mutant(PINHOLE_UNMAP_TWICE))
		dma_unmap_sgtable(mem->dev->dma_dev, &mem->sgt, PINHOLE_DMA_DIR,
				  DMA_ATTR_SKIP_CPU_SYNC);
	if (pinhole_mutant(PINHOLE_LEAK_MAPPING))
		mem->dma_mapped = false;
	__real_pinhole_unpin(mem);
}

/* A command is looked at when it was freed, or is not freed. */
void __wrap_pinhole_cmd_release(struct pinhole_device *dev,
				struct pinhole_cmd *cmd)
{
	if (cmd && READ_ONCE(cmd->state) == PINHOLE_CMD_IDLE &&
	    pinhole_mutant(PINHOLE_LEAK_COMMAND))
		return;
	__real_pinhole_cmd_release(dev, cmd);
	if (cmd && pinhole_mutant(PINHOLE_USE_AFTER_FREE))
		(void)READ_ONCE(cmd->used);
}

/* The spinlock is taken without keeping out the interrupt that takes it, too. */
void __wrap_pinhole_events_drain(struct pinhole_device *dev)
{
	if (pinhole_mutant(PINHOLE_IRQS_ON)) {
		spin_lock(&dev->lock);
		spin_unlock(&dev->lock);
	}
	__real_pinhole_events_drain(dev);
}

/* Two mutexes are taken in the other order than pinhole.h has them in. */
int __wrap_pinhole_s_fmt(struct file *file, void *priv, struct v4l2_format *f)
{
	struct pinhole_device *dev = video_drvdata(file);

	if (pinhole_mutant(PINHOLE_LOCK_ORDER)) {
		mutex_lock(&dev->session_mutex);
		mutex_lock(&dev->queue_mutex);
		mutex_unlock(&dev->queue_mutex);
		mutex_unlock(&dev->session_mutex);
	}
	return __real_pinhole_s_fmt(file, priv, f);
}

/* Memory is asked for that has to be waited for, under the spinlock. */
int __wrap_virtqueue_add_sgs(struct virtqueue *vq, struct scatterlist *sgs[],
			     unsigned int out, unsigned int in, void *data,
			     gfp_t gfp)
{
	if (pinhole_mutant(PINHOLE_SLEEP_LOCKED))
		gfp = GFP_KERNEL;
	return __real_virtqueue_add_sgs(vq, sgs, out, in, data, gfp);
}
