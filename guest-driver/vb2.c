// SPDX-License-Identifier: GPL-2.0
/*
 * The buffer queue: what videobuf2 asks of the driver.
 */
#include "command.h"
#include "controls.h"
#include "memory.h"
#include "pinhole.h"
#include "trace.h"

/**
 * pinhole_stream_fail() - the card broke the rules: end the stream
 * @dev: device
 * @why: what it did
 *
 * Logged once a stream: it is dead after that, and what follows is ignored.
 *
 * Context: Any; the device's lock is held.
 * Return: Nothing.
 */
void pinhole_stream_fail(struct pinhole_device *dev, const char *why)
{
	if (dev->stream == PINHOLE_STOPPED) {
		dev_warn_ratelimited(&dev->vdev->dev, "the card %s\n", why);
		return;
	}
	if (dev->stream_failed)
		return;
	dev->stream_failed = true;
	dev_err_ratelimited(&dev->vdev->dev,
			    "the card %s: the stream is dead\n", why);
	/* STREAMON will fail, and the next one is to find the queue as it was. */
	if (dev->stream != PINHOLE_STARTING)
		vb2_queue_error(&dev->queue);
}

/**
 * pinhole_queue_setup() - videobuf2 wants to know what buffers to allocate
 * @q: queue
 * @nbuffers: number of buffers
 * @nplanes: number of planes; 0 if the driver is to choose
 * @sizes: sizes of the planes
 * @alloc_devs: devices to allocate for
 *
 * Context: Process context; queue_mutex is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_queue_setup(struct vb2_queue *q, unsigned int *nbuffers,
			       unsigned int *nplanes, unsigned int sizes[],
			       struct device *alloc_devs[])
{
	struct pinhole_device *dev = vb2_get_drv_priv(q);
	unsigned int i;
	int ret;

	if (READ_ONCE(dev->fault))
		return READ_ONCE(dev->fault);
	/* The first buffers decide on the format that all are made for. */
	if (!vb2_is_busy(q)) {
		pinhole_controls_grab(dev, true);
		ret = pinhole_take_format(dev);
		if (ret)
			return ret;
	}

	if (*nplanes) {
		if (*nplanes != dev->num_planes)
			return -EINVAL;
		for (i = 0; i < dev->num_planes; i++)
			if (sizes[i] < dev->plane_sizes[i])
				return -EINVAL;
		return 0;
	}
	*nplanes = dev->num_planes;
	for (i = 0; i < dev->num_planes; i++)
		sizes[i] = dev->plane_sizes[i];
	return 0;
}

/**
 * pinhole_buf_init() - a buffer has got new memory
 * @vb: buffer
 *
 * Context: Process context; queue_mutex is held.
 * Return: 0 or a negative errno.
 */
static int pinhole_buf_init(struct vb2_buffer *vb)
{
	struct pinhole_buffer *buf = to_pinhole_buffer(vb);

	INIT_LIST_HEAD(&buf->node);
	return pinhole_buffer_describe(vb);
}

/**
 * pinhole_buf_prepare() - a buffer is about to be queued
 * @vb: buffer
 *
 * A dma-buf may have been mapped anew since it was attached, at other
 * addresses; other memory stays where it is from buf_init until it is put.
 *
 * Context: Process context; queue_mutex is held.
 * Return: 0 or a negative errno.
 */
static int pinhole_buf_prepare(struct vb2_buffer *vb)
{
	struct pinhole_device *dev = vb2_get_drv_priv(vb->vb2_queue);

	unsigned int i;

	if (READ_ONCE(dev->fault))
		return READ_ONCE(dev->fault);
	if (vb->num_planes != dev->num_planes)
		return -EINVAL;
	for (i = 0; i < vb->num_planes; i++)
		if (vb2_plane_size(vb, i) < dev->plane_sizes[i])
			return -EINVAL;
	if (vb->memory == VB2_MEMORY_DMABUF)
		return pinhole_buffer_describe(vb);
	return 0;
}

/**
 * pinhole_buf_queue() - videobuf2 hands over a buffer
 * @vb: buffer
 *
 * Does not wait for the card.
 *
 * Context: Process context; queue_mutex is held. Takes the device's lock.
 * Return: Nothing.
 */
static void pinhole_buf_queue(struct vb2_buffer *vb)
{
	struct pinhole_device *dev = vb2_get_drv_priv(vb->vb2_queue);
	struct pinhole_buffer *buf = to_pinhole_buffer(vb);
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	buf->vb.flags &= ~V4L2_BUF_FLAG_LAST;
	buf->at_card = false;
	buf->returned = false;
	list_add_tail(&buf->node, &dev->buffers);
	if (dev->stream == PINHOLE_STREAMING && !dev->stream_failed)
		pinhole_buffer_submit(dev, buf);
	spin_unlock_irqrestore(&dev->lock, flags);
}

/**
 * pinhole_stream_end() - give all buffers back to videobuf2
 * @dev: device
 * @state: state to give them back in
 *
 * If the card was given up, memory that it may still write to is held back
 * from the system until the card is reset.
 *
 * Context: Process context; queue_mutex is held.
 * Return: Nothing.
 */
static void pinhole_stream_end(struct pinhole_device *dev,
			       enum vb2_buffer_state state)
{
	struct pinhole_buffer *buf, *tmp;
	unsigned long flags;
	LIST_HEAD(buffers);
	bool fault;

	spin_lock_irqsave(&dev->lock, flags);
	dev->stream = PINHOLE_STOPPED;
	dev->stream_failed = false;
	memset(dev->slots, 0, sizeof(dev->slots));
	list_splice_init(&dev->buffers, &buffers);
	fault = dev->fault;
	spin_unlock_irqrestore(&dev->lock, flags);

	list_for_each_entry_safe(buf, tmp, &buffers, node) {
		struct vb2_buffer *vb = &buf->vb.vb2_buf;

		list_del_init(&buf->node);
		if (fault && (buf->at_card ||
			      buf->cmd->state == PINHOLE_CMD_SUBMITTED))
			pinhole_mem_hold(vb);
		buf->at_card = false;
		if (state == VB2_BUF_STATE_ERROR)
			trace_pinhole_done(vb->index, 0, 0, state);
		vb2_buffer_done(vb, state);
	}
}

/**
 * pinhole_start_streaming() - start the stream
 * @q: queue
 * @count: number of buffers queued so far
 *
 * Context: Process context; queue_mutex is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_start_streaming(struct vb2_queue *q, unsigned int count)
{
	struct pinhole_device *dev = vb2_get_drv_priv(q);
	struct v4l2_requestbuffers req = {
		.count = VIDEO_MAX_FRAME,
		.type = q->type,
		.memory = V4L2_MEMORY_USERPTR,
	};
	int type = q->type;
	struct pinhole_buffer *buf, *tmp;
	unsigned long flags;
	int ret;

	/* The last stream may have ended by LAST, and without STREAMOFF. */
	vb2_clear_last_buffer_dequeued(q);
	ret = pinhole_session_begin(dev, &req);
	if (ret)
		goto err_end;
	ret = pinhole_check_format(dev);
	if (ret)
		goto err_stop;

	spin_lock_irqsave(&dev->lock, flags);
	list_for_each_entry(buf, &dev->buffers, node) {
		if (buf->vb.vb2_buf.index >= req.count)
			ret = -ENOBUFS;
		else
			pinhole_buffer_submit(dev, buf);
	}
	spin_unlock_irqrestore(&dev->lock, flags);
	if (ret) {
		dev_err_ratelimited(&dev->vdev->dev,
				    "the card has only %u buffers\n",
				    req.count);
		goto err_stop;
	}

	ret = pinhole_stream_ioctl(dev, VIDIOC_STREAMON, &type);

	spin_lock_irqsave(&dev->lock, flags);
	if (!ret && dev->stream_failed)
		ret = -EIO;
	if (!ret) {
		dev->stream = PINHOLE_STREAMING;
		list_for_each_entry_safe(buf, tmp, &dev->buffers, node)
			pinhole_buffer_settle(dev, buf);
	}
	spin_unlock_irqrestore(&dev->lock, flags);
	if (ret)
		goto err_stop;

	pinhole_watchdog_start(dev);
	return 0;

err_stop:
	pinhole_session_stop(dev);
	pinhole_events_drain(dev);
err_end:
	pinhole_stream_end(dev, VB2_BUF_STATE_QUEUED);
	return ret;
}

/**
 * pinhole_stop_streaming() - stop the stream
 * @q: queue
 *
 * Context: Process context; queue_mutex is held. Waits for the card.
 * Return: Nothing. The card writes to no buffer after it.
 */
static void pinhole_stop_streaming(struct vb2_queue *q)
{
	struct pinhole_device *dev = vb2_get_drv_priv(q);
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	dev->stream = PINHOLE_STOPPING;
	pinhole_cmds_cancel_qbufs(dev);
	spin_unlock_irqrestore(&dev->lock, flags);

	pinhole_watchdog_stop(dev);
	pinhole_session_stop(dev);
	pinhole_events_drain(dev);
	pinhole_stream_end(dev, VB2_BUF_STATE_ERROR);
}

static const struct vb2_ops pinhole_vb2_ops = {
	PINHOLE_VB2_WAIT_OPS
	.queue_setup = pinhole_queue_setup,
	.buf_init = pinhole_buf_init,
	.buf_prepare = pinhole_buf_prepare,
	.buf_queue = pinhole_buf_queue,
	.start_streaming = pinhole_start_streaming,
	.stop_streaming = pinhole_stop_streaming,
};

/**
 * pinhole_queue_init() - initialise the buffer queue
 * @dev: device; the queue's type is set
 *
 * Context: Process context.
 * Return: 0 or a negative errno.
 */
int pinhole_queue_init(struct pinhole_device *dev)
{
	struct vb2_queue *q = &dev->queue;

	q->io_modes = VB2_MMAP | VB2_USERPTR | VB2_DMABUF | VB2_READ;
	q->dev = &dev->vdev->dev;
	q->lock = &dev->queue_mutex;
	q->ops = &pinhole_vb2_ops;
	q->mem_ops = &pinhole_mem_ops;
	q->drv_priv = dev;
	q->buf_struct_size = sizeof(struct pinhole_buffer);
	q->timestamp_flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
	pinhole_set_min_queued(q, 1);
	return vb2_queue_init(q);
}
