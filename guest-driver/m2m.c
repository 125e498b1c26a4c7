// SPDX-License-Identifier: GPL-2.0
/*
 * The node of a device from memory to memory: each open file is a context, with a
 * session of its own and a buffer queue for each direction.
 *
 * Buffers of both queues go to the device as they come, as those of other devices do,
 * and the device pairs them. v4l2-mem2mem, which would pair them here, has one job at the
 * device at a time; what else there is of it, to find the queue that an ioctl is for, is
 * what follows. Kernels for PCs come without it: Debian's have no v4l2-mem2mem.ko, since
 * no driver of theirs selects it.
 */
#include <linux/slab.h>
#include <media/v4l2-event.h>

#include "pinhole.h"

/* Where buffers of CAPTURE begin in the file, as in v4l2-mem2mem: those of OUTPUT do at 0. */
#define PINHOLE_CAPTURE_OFFSET BIT(30)

/* The queue of a file that an ioctl is for, with its lock held; or an ERR_PTR. */
static struct vb2_queue *pinhole_m2m_lock(struct file *file, u32 type)
{
	struct pinhole_stream *stream = pinhole_file_stream(file, type);

	if (!stream)
		return ERR_PTR(-EINVAL);
	if (mutex_lock_interruptible(stream->queue.lock))
		return ERR_PTR(-ERESTARTSYS);
	return &stream->queue;
}

/* Says where a buffer is in the file, if it was said where it is in its queue. */
static void pinhole_m2m_offset(const struct vb2_queue *q, struct v4l2_buffer *b)
{
	unsigned int i;

	if (q->is_output || b->memory != V4L2_MEMORY_MMAP)
		return;
	if (!V4L2_TYPE_IS_MULTIPLANAR(q->type)) {
		b->m.offset += PINHOLE_CAPTURE_OFFSET;
		return;
	}
	for (i = 0; i < b->length; i++)
		b->m.planes[i].m.mem_offset += PINHOLE_CAPTURE_OFFSET;
}

/* After buffers were made or freed: what the formats depend on stays, or need not. */
static void pinhole_m2m_grab(struct vb2_queue *q)
{
	struct pinhole_stream *stream = vb2_get_drv_priv(q);

	pinhole_controls_grab(stream->ctx, pinhole_context_is_busy(stream->ctx));
}

static int pinhole_m2m_reqbufs(struct file *file, void *priv,
			       struct v4l2_requestbuffers *req)
{
	struct vb2_queue *q = pinhole_m2m_lock(file, req->type);
	int ret;

	if (IS_ERR(q))
		return PTR_ERR(q);
	ret = vb2_reqbufs(q, req);
	pinhole_m2m_grab(q);
	mutex_unlock(q->lock);
	return ret;
}

static int pinhole_m2m_create_bufs(struct file *file, void *priv,
				   struct v4l2_create_buffers *create)
{
	struct vb2_queue *q = pinhole_m2m_lock(file, create->format.type);
	int ret;

	if (IS_ERR(q))
		return PTR_ERR(q);
	ret = vb2_create_bufs(q, create);
	pinhole_m2m_grab(q);
	mutex_unlock(q->lock);
	return ret;
}

static int pinhole_m2m_querybuf(struct file *file, void *priv,
				struct v4l2_buffer *b)
{
	struct vb2_queue *q = pinhole_m2m_lock(file, b->type);
	int ret;

	if (IS_ERR(q))
		return PTR_ERR(q);
	ret = vb2_querybuf(q, b);
	mutex_unlock(q->lock);
	if (!ret)
		pinhole_m2m_offset(q, b);
	return ret;
}

static int pinhole_m2m_prepare_buf(struct file *file, void *priv,
				   struct v4l2_buffer *b)
{
	struct vb2_queue *q = pinhole_m2m_lock(file, b->type);
	int ret;

	if (IS_ERR(q))
		return PTR_ERR(q);
	ret = vb2_prepare_buf(q, NULL, b);
	mutex_unlock(q->lock);
	if (!ret)
		pinhole_m2m_offset(q, b);
	return ret;
}

static int pinhole_m2m_qbuf(struct file *file, void *priv,
			    struct v4l2_buffer *b)
{
	struct vb2_queue *q = pinhole_m2m_lock(file, b->type);
	int ret;

	if (IS_ERR(q))
		return PTR_ERR(q);
	ret = vb2_qbuf(q, NULL, b);
	mutex_unlock(q->lock);
	if (!ret)
		pinhole_m2m_offset(q, b);
	return ret;
}

static int pinhole_m2m_dqbuf(struct file *file, void *priv,
			     struct v4l2_buffer *b)
{
	struct vb2_queue *q = pinhole_m2m_lock(file, b->type);
	int ret;

	if (IS_ERR(q))
		return PTR_ERR(q);
	/* videobuf2 does not hold the lock while it waits. */
	ret = vb2_dqbuf(q, b, file->f_flags & O_NONBLOCK);
	mutex_unlock(q->lock);
	if (!ret)
		pinhole_m2m_offset(q, b);
	return ret;
}

static int pinhole_m2m_expbuf(struct file *file, void *priv,
			      struct v4l2_exportbuffer *exp)
{
	struct vb2_queue *q = pinhole_m2m_lock(file, exp->type);
	int ret;

	if (IS_ERR(q))
		return PTR_ERR(q);
	ret = vb2_expbuf(q, exp);
	mutex_unlock(q->lock);
	return ret;
}

static int pinhole_m2m_streamon(struct file *file, void *priv,
				enum v4l2_buf_type type)
{
	struct vb2_queue *q = pinhole_m2m_lock(file, type);
	int ret;

	if (IS_ERR(q))
		return PTR_ERR(q);
	ret = vb2_streamon(q, type);
	mutex_unlock(q->lock);
	return ret;
}

static int pinhole_m2m_streamoff(struct file *file, void *priv,
				 enum v4l2_buf_type type)
{
	struct vb2_queue *q = pinhole_m2m_lock(file, type);
	int ret;

	if (IS_ERR(q))
		return PTR_ERR(q);
	ret = vb2_streamoff(q, type);
	mutex_unlock(q->lock);
	return ret;
}

static int pinhole_forward_encoder_cmd(struct pinhole_context *ctx,
				       unsigned int code,
				       struct v4l2_encoder_cmd *cmd)
{
	const u32 asked = cmd->cmd;
	int ret = pinhole_ioctl(ctx, code, cmd);

	if (!ret && cmd->cmd != asked)
		ret = pinhole_nonsense(ctx->dev, code);
	return ret;
}

static int pinhole_try_encoder_cmd(struct file *file, void *priv,
				   struct v4l2_encoder_cmd *cmd)
{
	return pinhole_forward_encoder_cmd(pinhole_file_context(file),
					   VIDIOC_TRY_ENCODER_CMD, cmd);
}

/*
 * STOP comes after all QBUFs to the device that were before it here, for they take the
 * same queue. With START there will be other buffers after the one that was the last.
 */
static int pinhole_encoder_cmd(struct file *file, void *priv,
			       struct v4l2_encoder_cmd *cmd)
{
	struct pinhole_context *ctx = pinhole_file_context(file);
	struct pinhole_stream *stream;
	int ret;

	if (mutex_lock_interruptible(&ctx->queue_mutex))
		return -ERESTARTSYS;
	ret = pinhole_forward_encoder_cmd(ctx, VIDIOC_ENCODER_CMD, cmd);
	if (!ret && cmd->cmd == V4L2_ENC_CMD_START)
		pinhole_for_each_stream(stream, ctx)
			vb2_clear_last_buffer_dequeued(&stream->queue);
	mutex_unlock(&ctx->queue_mutex);
	return ret;
}

const struct v4l2_ioctl_ops pinhole_m2m_ioctl_ops = {
	.vidioc_querycap = pinhole_querycap,
	.vidioc_enum_fmt_vid_cap = pinhole_enum_fmt,
	.vidioc_g_fmt_vid_cap = pinhole_g_fmt,
	.vidioc_s_fmt_vid_cap = pinhole_s_fmt,
	.vidioc_try_fmt_vid_cap = pinhole_try_fmt,
	.vidioc_g_fmt_vid_cap_mplane = pinhole_g_fmt,
	.vidioc_s_fmt_vid_cap_mplane = pinhole_s_fmt,
	.vidioc_try_fmt_vid_cap_mplane = pinhole_try_fmt,
	.vidioc_enum_fmt_vid_out = pinhole_enum_fmt,
	.vidioc_g_fmt_vid_out = pinhole_g_fmt,
	.vidioc_s_fmt_vid_out = pinhole_s_fmt,
	.vidioc_try_fmt_vid_out = pinhole_try_fmt,
	.vidioc_g_fmt_vid_out_mplane = pinhole_g_fmt,
	.vidioc_s_fmt_vid_out_mplane = pinhole_s_fmt,
	.vidioc_try_fmt_vid_out_mplane = pinhole_try_fmt,
	.vidioc_enum_framesizes = pinhole_enum_framesizes,
	.vidioc_g_selection = pinhole_g_selection,
	.vidioc_s_selection = pinhole_s_selection,
	.vidioc_reqbufs = pinhole_m2m_reqbufs,
	.vidioc_create_bufs = pinhole_m2m_create_bufs,
	.vidioc_prepare_buf = pinhole_m2m_prepare_buf,
	.vidioc_querybuf = pinhole_m2m_querybuf,
	.vidioc_qbuf = pinhole_m2m_qbuf,
	.vidioc_dqbuf = pinhole_m2m_dqbuf,
	.vidioc_expbuf = pinhole_m2m_expbuf,
	.vidioc_streamon = pinhole_m2m_streamon,
	.vidioc_streamoff = pinhole_m2m_streamoff,
	.vidioc_try_encoder_cmd = pinhole_try_encoder_cmd,
	.vidioc_encoder_cmd = pinhole_encoder_cmd,
	.vidioc_log_status = pinhole_log_status,
	.vidioc_subscribe_event = pinhole_subscribe_event,
	.vidioc_unsubscribe_event = v4l2_event_unsubscribe,
};

/* Nobody has the file, or is going to: the context is gone after this. */
static void pinhole_m2m_free(struct pinhole_context *ctx)
{
	pinhole_context_close(ctx);
	pinhole_context_exit(ctx);
	v4l2_fh_exit(&ctx->fh);
	kfree(ctx);
}

static int pinhole_m2m_open(struct file *file)
{
	struct pinhole_device *dev = video_drvdata(file);
	struct pinhole_context *ctx;
	int ret;

	ctx = kzalloc(sizeof(*ctx), GFP_KERNEL);
	if (!ctx)
		return -ENOMEM;
	v4l2_fh_init(&ctx->fh, &dev->video_dev);
	pinhole_context_init(ctx, dev);
	ret = pinhole_context_queues(ctx);
	if (!ret)
		ret = pinhole_context_open(ctx);
	if (ret) {
		pinhole_m2m_free(ctx);
		return ret;
	}
	if (!list_empty(&ctx->controls.list))
		ctx->fh.ctrl_handler = &ctx->controls.handler;
	pinhole_fh_add(&ctx->fh, file);
	return 0;
}

/* Takes all buffers of a context from the device, and frees them. */
static void pinhole_m2m_stop(struct pinhole_context *ctx)
{
	struct pinhole_stream *stream;

	mutex_lock(&ctx->queue_mutex);
	pinhole_for_each_stream(stream, ctx)
		vb2_queue_release(&stream->queue);
	mutex_unlock(&ctx->queue_mutex);
}

static int pinhole_m2m_close(struct file *file)
{
	struct pinhole_context *ctx = pinhole_file_context(file);

	pinhole_fh_del(&ctx->fh, file);
	v4l2_event_unsubscribe_all(&ctx->fh);
	pinhole_m2m_stop(ctx);
	pinhole_m2m_free(ctx);
	return 0;
}

/* Whether there is something to wait for, or to take. */
static bool pinhole_m2m_is_alive(struct vb2_queue *q)
{
	return vb2_is_streaming(q) && !q->error &&
	       (!list_empty(&q->queued_list) || q->last_buffer_dequeued);
}

/*
 * As v4l2_m2m_poll(): an error if neither queue has anything to wait for, and only then.
 * videobuf2 looks at buffers that the lock keeps from being freed.
 */
static __poll_t pinhole_m2m_poll(struct file *file, poll_table *wait)
{
	const __poll_t data = EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM;
	struct pinhole_context *ctx = pinhole_file_context(file);
	struct pinhole_stream *stream;
	__poll_t ret = 0;
	bool alive = false;

	mutex_lock(&ctx->queue_mutex);
	pinhole_for_each_stream(stream, ctx) {
		ret |= pinhole_poll_queue(file, &stream->queue, wait);
		alive |= pinhole_m2m_is_alive(&stream->queue);
	}
	mutex_unlock(&ctx->queue_mutex);
	if (alive)
		return ret & ~EPOLLERR;
	return poll_requested_events(wait) & data && !(ret & data) ?
	       ret | EPOLLERR : ret;
}

static int pinhole_m2m_mmap(struct file *file, struct vm_area_struct *vma)
{
	const unsigned long first = PINHOLE_CAPTURE_OFFSET >> PAGE_SHIFT;
	struct pinhole_context *ctx = pinhole_file_context(file);
	struct pinhole_stream *stream = ctx->streams;

	if (vma->vm_pgoff >= first) {
		vma->vm_pgoff -= first;
		stream++;
	}
	return vb2_mmap(&stream->queue, vma);
}

const struct v4l2_file_operations pinhole_m2m_fops = {
	.owner = THIS_MODULE,
	.open = pinhole_m2m_open,
	.release = pinhole_m2m_close,
	.poll = pinhole_m2m_poll,
	.mmap = pinhole_m2m_mmap,
	.unlocked_ioctl = video_ioctl2,
};

/*
 * As vb2_video_unregister_device(): the device, which is being removed, was reset. Files
 * that are still open keep their contexts, but no memory that is mapped for it.
 */
void pinhole_m2m_unregister(struct pinhole_device *dev)
{
	struct pinhole_context *ctx;

	video_unregister_device(&dev->video_dev);
	mutex_lock(&dev->contexts.mutex);
	list_for_each_entry(ctx, &dev->contexts.list, node)
		pinhole_m2m_stop(ctx);
	mutex_unlock(&dev->contexts.mutex);
	/* A stream that was just beginning may have started the watchdog again. */
	pinhole_recovery_cancel(dev);
}
