// SPDX-License-Identifier: GPL-2.0
/*
 * Deliberate bugs between the driver's files, and between it and the kernel.
 *
 * The linker leads calls of these functions to what stands here (Kbuild), so that
 * the driver's own files have no trace of a bug, and the code that is tested is
 * the code that is read. That takes a function of another file: where none stood
 * at the right place, the bug is put into what the function has made.
 */
#include <linux/dma-mapping.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include <linux/virtio.h>

#include "mutant.h"
#include "mutant_seams.h"

/* The pages that were pinned last; the queue's mutex guards them. */
static struct page *last_pages[1024];
static unsigned int last_nr;

/* The pinned memory that was queued last; the queue's mutex guards it. */
static struct pinhole_mem *last_queued;

/* Who pins memory as that of the other direction. */
static struct task_struct *swapping;

/* Of a part of what was to be pinned the vector is made to hold nothing. */
static int pinhole_mutant_part(int pinned, unsigned int nr,
			       struct frame_vector *vec)
{
	if (pinned > 0 && pinned < nr && pinhole_mutant(PINHOLE_LEAK_PART))
		vec->nr_frames = 0;
	return pinned;
}

/*
 * Pages are pinned without write access, or with it where the device only reads. Before
 * 6.2 they are pinned with it for either direction, and only 5.10 lets it be left out.
 */
#if PINHOLE_KERNEL(6, 2)
int __wrap_get_vaddr_frames(unsigned long start, unsigned int nr, bool write,
			    struct frame_vector *vec)
{
	write = (write && !pinhole_mutant(PINHOLE_PIN_READONLY)) ||
		pinhole_mutant(PINHOLE_OUTPUT_WRITE_PINS);
	if (READ_ONCE(swapping) == current)
		write = !write;
	return pinhole_mutant_part(__real_get_vaddr_frames(start, nr, write, vec),
				   nr, vec);
}
#elif PINHOLE_KERNEL(5, 12)
int __wrap_get_vaddr_frames(unsigned long start, unsigned int nr,
			    struct frame_vector *vec)
{
	return pinhole_mutant_part(__real_get_vaddr_frames(start, nr, vec), nr,
				   vec);
}
#else
int __wrap_get_vaddr_frames(unsigned long start, unsigned int nr,
			    unsigned int flags, struct frame_vector *vec)
{
	if (pinhole_mutant(PINHOLE_PIN_READONLY))
		flags &= ~FOLL_WRITE;
	return pinhole_mutant_part(__real_get_vaddr_frames(start, nr, flags, vec),
				   nr, vec);
}
#endif

/* Pages that follow one another are marked dirty if they are to be; they stay pinned. */
static void pinhole_mutant_leak(struct page *page, unsigned long nr, bool dirty)
{
	unsigned long i;

	for (i = 0; dirty && i < nr; i++)
		set_page_dirty_lock(pfn_to_page(page_to_pfn(page) + i));
}

/* Pages are unpinned twice, or never, or not marked dirty, or marked for nothing. */
#if PINHOLE_KERNEL(5, 13)
void __wrap_unpin_user_page_range_dirty_lock(struct page *page,
					     unsigned long nr, bool dirty)
{
	if (pinhole_mutant(PINHOLE_LEAK_PIN)) {
		pinhole_mutant_leak(page, nr, dirty);
		return;
	}
	dirty = (dirty && !pinhole_mutant(PINHOLE_LEAVE_CLEAN)) ||
		pinhole_mutant(PINHOLE_OUTPUT_DIRTY);
	__real_unpin_user_page_range_dirty_lock(page, nr, dirty);
	if (pinhole_mutant(PINHOLE_UNPIN_TWICE))
		__real_unpin_user_page_range_dirty_lock(page, nr, false);
}
#else
void __wrap_unpin_user_pages_dirty_lock(struct page **pages, unsigned long nr,
					bool dirty)
{
	if (pinhole_mutant(PINHOLE_LEAK_PIN)) {
		pinhole_mutant_leak(pages[0], nr, dirty);
		return;
	}
	dirty = (dirty && !pinhole_mutant(PINHOLE_LEAVE_CLEAN)) ||
		pinhole_mutant(PINHOLE_OUTPUT_DIRTY);
	__real_unpin_user_pages_dirty_lock(pages, nr, dirty);
	if (pinhole_mutant(PINHOLE_UNPIN_TWICE))
		__real_unpin_user_pages_dirty_lock(pages, nr, false);
}
#endif

/* The scatter list is made anew, of other pages. */
static int pinhole_mutant_list(struct pinhole_mem *mem, struct page **pages)
{
	sg_free_table(&mem->sgt);
	return sg_alloc_table_from_pages(&mem->sgt, pages, mem->nr,
					 offset_in_page(mem->start), mem->size,
					 GFP_KERNEL);
}

/* Pinned memory is described otherwise than it is. */
static int pinhole_mutant_describe(struct pinhole_mem *mem)
{
	unsigned int nr = min_t(unsigned int, mem->nr, ARRAY_SIZE(last_pages));
	int ret = 0;

	if (pinhole_mutant(PINHOLE_STALE_LIST) && mem->nr <= last_nr)
		return pinhole_mutant_list(mem, last_pages);
	memcpy(last_pages, mem->pages, nr * sizeof(*mem->pages));
	last_nr = nr;

	if (pinhole_mutant(PINHOLE_SWAP_PAGES) && mem->nr > 1) {
		swap(mem->pages[0], mem->pages[1]);
		ret = pinhole_mutant_list(mem, mem->pages);
		swap(mem->pages[0], mem->pages[1]);
	}
	if (pinhole_mutant(PINHOLE_IGNORE_OFFSET))
		mem->sgt.sgl->offset = 0;
	if (pinhole_mutant(PINHOLE_ROUND_UP)) {
		mem->size = mem->nr * PAGE_SIZE - offset_in_page(mem->start);
		ret = pinhole_mutant_list(mem, mem->pages);
	}
	return ret;
}

/* Whether memory is taken for that of the other queue. */
static bool pinhole_mutant_swaps(struct device *mem_dev)
{
	struct pinhole_stream *stream = container_of(mem_dev,
						     struct pinhole_stream,
						     mem_dev);

	return pinhole_is_m2m(stream->dev) && pinhole_mutant(PINHOLE_M2M_SWAPPED);
}

/*
 * Memory is described otherwise than it is, unpinned at once, taken for that of the
 * other queue, or mapped for the other direction where the DMA API maps it.
 */
void *__wrap_pinhole_mem_get_userptr(struct vb2_buffer *vb, struct device *dev,
				     unsigned long vaddr, unsigned long size)
{
	bool swaps = pinhole_mutant_swaps(dev);
	enum dma_data_direction right, dir;
	struct pinhole_mem *mem;
	int ret;

	if (swaps)
		WRITE_ONCE(swapping, current);
	mem = __real_pinhole_mem_get_userptr(vb, dev, vaddr, size);
	if (swaps)
		WRITE_ONCE(swapping, NULL);
	if (IS_ERR(mem) || mem->ops)
		return mem;
	right = mem->dir;
	dir = right;
	if (swaps || pinhole_mutant(PINHOLE_WRONG_DIRECTION))
		dir = right == DMA_TO_DEVICE ? DMA_FROM_DEVICE : DMA_TO_DEVICE;
	if (mem->dma_mapped)
		dma_unmap_sgtable(mem->dev->dma.dev, &mem->sgt, right,
				  DMA_ATTR_SKIP_CPU_SYNC);
	ret = pinhole_mutant_describe(mem);
	if (mem->dma_mapped) {
		if (!ret)
			ret = dma_map_sgtable(mem->dev->dma.dev, &mem->sgt, dir,
					      DMA_ATTR_SKIP_CPU_SYNC);
		mem->dma_mapped = !ret;
	}
	if (swaps)
		mem->dir = dir;
	if (ret) {
		pinhole_unpin(mem);
		kfree(mem);
		return ERR_PTR(ret);
	}
	if (pinhole_mutant(PINHOLE_UNPIN_EARLY))
		put_vaddr_frames(mem->vec);
	return mem;
}

/* The length of all that the DMA API has mapped of a dma-buf. */
static size_t pinhole_mutant_whole(struct pinhole_mem *mem)
{
	struct sg_table *sgt = pinhole_ops_cookie(mem->ops, NULL, mem->priv);
	struct scatterlist *sg;
	size_t length = 0;
	unsigned int i;

	for_each_sgtable_dma_sg(sgt, sg, i)
		length += sg_dma_len(sg);
	return length;
}

/* The length is that of the pages or of the dma-buf, or without the last page's. */
int __wrap_pinhole_mem_segments(struct pinhole_mem *mem, size_t length,
				struct virtio_media_sg_entry *entries,
				unsigned int max)
{
	if (mem->pages && pinhole_mutant(PINHOLE_ROUND_UP))
		length = mem->size;
	if (mem->ops == &vb2_dma_sg_memops &&
	    pinhole_mutant(PINHOLE_IMPORT_WHOLE))
		length = pinhole_mutant_whole(mem);
	if (mem->pages && mem->nr > 1 &&
	    pinhole_mutant(PINHOLE_LOSE_LAST_PAGE))
		length -= offset_in_page(mem->start + length - 1) + 1;
	return __real_pinhole_mem_segments(mem, length, entries, max);
}

/* Memory that the device is to read is not synchronised for it. */
void __wrap_pinhole_pinned_prepare(struct pinhole_mem *mem)
{
	if (!pinhole_mutant(PINHOLE_OUTPUT_NO_SYNC) ||
	    mem->dir != DMA_TO_DEVICE)
		__real_pinhole_pinned_prepare(mem);
}

/* Memory is synchronised for the device where it is for the processor. */
void __wrap_pinhole_pinned_finish(struct pinhole_mem *mem)
{
	if (pinhole_mutant(PINHOLE_WRONG_SYNC))
		__real_pinhole_pinned_prepare(mem);
	else
		__real_pinhole_pinned_finish(mem);
}

/* Once unmapped it is unmapped again, or it is not unmapped at all. */
void __wrap_pinhole_unpin(struct pinhole_mem *mem)
{
	if (mem->dma_mapped && pinhole_mutant(PINHOLE_UNMAP_TWICE))
		dma_unmap_sgtable(mem->dev->dma.dev, &mem->sgt,
				  mem->dir, DMA_ATTR_SKIP_CPU_SYNC);
	if (pinhole_mutant(PINHOLE_LEAK_MAPPING))
		mem->dma_mapped = false;
	if (last_queued == mem)
		last_queued = NULL;
	__real_pinhole_unpin(mem);
}

/*
 * The driver takes the memory that was queued last for that of the buffer which was
 * dequeued, and unpins it. That is so as long as the device has one buffer at a time.
 */
int __wrap_vb2_ioctl_dqbuf(struct file *file, void *priv, struct v4l2_buffer *b)
{
	int ret = __real_vb2_ioctl_dqbuf(file, priv, b);
	struct pinhole_mem *mem;
	unsigned int i;

	if (ret || !pinhole_mutant(PINHOLE_UNPIN_LAST))
		return ret;
	/* The mutex is let go while a buffer is waited for, and is held again now. */
	mem = last_queued;
	if (!mem || !mem->vec->got_ref)
		return 0;
	for (i = 0; i < mem->nr; i++)
		pinhole_mutant_leak(mem->pages[i], 1,
				    mem->dir == DMA_FROM_DEVICE);
	put_vaddr_frames(mem->vec);
	return 0;
}

/* What the driver would have a QBUF completed by. */
static void (*qbuf_complete)(struct pinhole_cmd *cmd);

/* A QBUF was answered: the driver is told that the device has done with the buffer. */
static void pinhole_mutant_complete(struct pinhole_cmd *cmd)
{
	struct vb2_buffer *vb = &cmd->buf->vb.vb2_buf;
	struct pinhole_stream *stream = vb2_get_drv_priv(vb->vb2_queue);
	struct virtio_media_event_dqbuf event = {
		.buffer.index = vb->index,
		.buffer.type = vb->type,
		.buffer.length = vb->num_planes,
		.buffer.sequence = cmd->buf->vb.sequence,
		.buffer.bytesused = stream->plane_sizes[0],
	};
	bool taken = !cmd->result;
	unsigned int i;

	for (i = 0; i < stream->num_planes; i++)
		event.planes[i].bytesused = stream->plane_sizes[i];
	qbuf_complete(cmd);
	if (taken)
		__real_pinhole_buffer_returned(cmd->dev, stream->session,
					       &event, sizeof(event));
}

/* A buffer that is to be filled is queued in the session of another file. */
static void pinhole_mutant_mix_up(struct pinhole_cmd *cmd)
{
	struct virtio_media_cmd_ioctl *hdr = cmd->req;
	struct pinhole_context *ctx;

	if (V4L2_TYPE_IS_OUTPUT(cmd->buf->vb.vb2_buf.type))
		return;
	rcu_read_lock();
	pinhole_for_each_context(ctx, cmd->dev)
		if (READ_ONCE(ctx->session.open) && &ctx->session != cmd->session)
			hdr->session_id = cpu_to_le32(READ_ONCE(ctx->session.id));
	rcu_read_unlock();
}

/* Notes whose memory was queued last, if this driver has pinned it. */
static void pinhole_mutant_queued(struct pinhole_buffer *buf)
{
	struct pinhole_mem *mem = vb2_plane_cookie(&buf->vb.vb2_buf, 0);

	last_queued = mem->vec ? mem : NULL;
}

/* A buffer is given back as soon as the device has it, or goes where it does not belong. */
void __wrap_pinhole_cmd_submit(struct pinhole_cmd *cmd)
{
	if (cmd->buf)
		pinhole_mutant_queued(cmd->buf);
	if (cmd->buf && pinhole_mutant(PINHOLE_M2M_MIXED_UP))
		pinhole_mutant_mix_up(cmd);
	if (cmd->buf && cmd->complete != pinhole_mutant_complete &&
	    pinhole_mutant(PINHOLE_COMPLETE_EARLY)) {
		qbuf_complete = cmd->complete;
		cmd->complete = pinhole_mutant_complete;
	}
	__real_pinhole_cmd_submit(cmd);
}

/* Whether the driver takes a buffer for one that is at the device. */
static bool pinhole_mutant_expects(struct pinhole_device *dev, u32 session_id,
				   const struct v4l2_buffer *b)
{
	struct pinhole_context *ctx = pinhole_context_find(dev, session_id);
	struct pinhole_stream *stream =
		ctx ? pinhole_context_stream(ctx, b->type) : NULL;

	return !stream || b->index >= VIDEO_MAX_FRAME ||
	       READ_ONCE(stream->slots[b->index]);
}

/* When the device returns it in truth, nobody wonders that it is not there. */
bool __wrap_pinhole_buffer_returned(struct pinhole_device *dev, u32 session_id,
				    const struct virtio_media_event_dqbuf *event,
				    u32 used)
{
	bool expected = true;

	rcu_read_lock();
	if (pinhole_mutant(PINHOLE_COMPLETE_EARLY))
		expected = pinhole_mutant_expects(dev, session_id,
						  &event->buffer);
	rcu_read_unlock();
	return !expected ||
	       __real_pinhole_buffer_returned(dev, session_id, event, used);
}

/* A command is looked at when it was freed, or is not freed. */
void __wrap_pinhole_cmd_release(struct pinhole_cmd *cmd)
{
	if (cmd && kref_read(&cmd->ref) == 1 &&
	    pinhole_mutant(PINHOLE_LEAK_COMMAND))
		return;
	__real_pinhole_cmd_release(cmd);
	if (cmd && pinhole_mutant(PINHOLE_USE_AFTER_FREE))
		(void)READ_ONCE(cmd->used);
}

/* A spinlock is taken without keeping out the interrupt that takes it, too. */
void __wrap_pinhole_events_drain(struct pinhole_device *dev)
{
	if (pinhole_mutant(PINHOLE_IRQS_ON)) {
		spin_lock(&dev->events.ring.lock);
		spin_unlock(&dev->events.ring.lock);
	}
	__real_pinhole_events_drain(dev);
}

/* Two mutexes are taken in the other order than pinhole.h has them in. */
int __wrap_pinhole_s_fmt(struct file *file, void *priv, struct v4l2_format *f)
{
	struct pinhole_context *ctx = pinhole_file_context(file);
	struct pinhole_device *dev = ctx->dev;

	if (pinhole_mutant(PINHOLE_LOCK_ORDER)) {
		mutex_lock(&dev->commands.mutex);
		mutex_lock(&ctx->queue_mutex);
		mutex_unlock(&ctx->queue_mutex);
		mutex_unlock(&dev->commands.mutex);
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
