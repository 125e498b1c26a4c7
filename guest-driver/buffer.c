// SPDX-License-Identifier: GPL-2.0
/*
 * A buffer's way to the device and back: its memory is described, QBUF commands
 * go out, and DQBUF events come in.
 */
#include <linux/nospec.h>

#include "pinhole.h"
#include "trace.h"

/* How long the payload of a QBUF is: the buffer, and its planes if multi-planar. */
static size_t pinhole_qbuf_length(struct vb2_buffer *vb)
{
	size_t length = sizeof(struct v4l2_buffer);

	if (pinhole_is_multiplanar(vb2_get_drv_priv(vb->vb2_queue)))
		length += vb->num_planes * sizeof(struct v4l2_plane);
	return length;
}

static void pinhole_qbuf_fill(struct pinhole_buffer *buf, struct v4l2_buffer *b)
{
	struct vb2_buffer *vb = &buf->vb.vb2_buf;
	struct pinhole_stream *stream = vb2_get_drv_priv(vb->vb2_queue);
	struct v4l2_plane *planes = (struct v4l2_plane *)(b + 1);
	unsigned int i;

	memset(b, 0, pinhole_qbuf_length(vb));
	b->index = vb->index;
	b->type = vb->type;
	b->memory = pinhole_wire_memory(stream->dev);
	if (pinhole_is_multiplanar(stream)) {
		b->length = vb->num_planes;
		for (i = 0; i < vb->num_planes; i++)
			planes[i].length = pinhole_plane_length(vb, i);
	} else {
		b->length = pinhole_plane_length(vb, 0);
	}
	if (pinhole_is_output(stream))
		pinhole_frame_give(buf, b, planes);
}

/*
 * A buffer goes back to videobuf2 when the device has returned it and has
 * answered its QBUF. Those of a dead stream stay until it is stopped, when it is
 * known that the device no longer uses them.
 */
void pinhole_buffer_settle(struct pinhole_stream *stream,
			   struct pinhole_buffer *buf)
{
	lockdep_assert_held(&stream->lock);
	if (!buf->returned || buf->queued || pinhole_fault(stream->dev))
		return;
	if (stream->state != PINHOLE_STARTING && !stream->failed)
		list_move_tail(&buf->node, &stream->done);
}

/* The device has a buffer no longer, or has never had it. */
static void pinhole_buffer_left(struct pinhole_stream *stream,
				struct pinhole_buffer *buf)
{
	stream->slots[buf->vb.vb2_buf.index] = NULL;
	buf->at_device = false;
	buf->returned = true;
}

static void pinhole_buffer_refused(struct pinhole_stream *stream,
				   struct pinhole_buffer *buf)
{
	pinhole_frame_none(buf);
	pinhole_buffer_left(stream, buf);
}

/*
 * A QBUF was answered. Whether the device has the buffer is not known if the
 * response is malformed, or the session gone: it stays until STREAMOFF.
 */
static void pinhole_qbuf_complete(struct pinhole_cmd *cmd)
{
	struct pinhole_buffer *buf = cmd->buf;
	struct pinhole_stream *stream = vb2_get_drv_priv(buf->vb.vb2_buf.vb2_queue);
	struct pinhole_device *dev = cmd->dev;
	const char *wrong = NULL;
	unsigned long flags;
	u32 session;

	spin_lock_irqsave(&stream->lock, flags);
	session = stream->session;
	buf->queued = false;
	WRITE_ONCE(stream->qbufs, stream->qbufs - 1);
	if (!stream->qbufs)
		wake_up_all(&stream->idle);
	if (pinhole_fault(dev))
		goto unlock;

	if (cmd->garbled)
		wrong = "sent a malformed response to QBUF";
	else if (!cmd->result && cmd->used < cmd->resp_len)
		wrong = "sent a short response to QBUF";
	else if (cmd->result == -ENODEV)
		wrong = "gave up the session";
	else if (cmd->result && !buf->at_device)
		wrong = "refused a buffer that it returned";
	else if (cmd->result)
		pinhole_buffer_refused(stream, buf);
	if (!wrong)
		pinhole_buffer_settle(stream, buf);
unlock:
	spin_unlock_irqrestore(&stream->lock, flags);

	if (wrong && cmd->result == -ENODEV)
		pinhole_session_lost(dev, session);
	if (wrong)
		dev->up->fail(stream->ctx, wrong);
}

static struct pinhole_cmd *pinhole_qbuf_alloc(struct vb2_buffer *vb,
					      unsigned int num_entries)
{
	struct pinhole_stream *stream = vb2_get_drv_priv(vb->vb2_queue);
	size_t payload = pinhole_qbuf_length(vb);
	struct pinhole_cmd *cmd;

	cmd = pinhole_cmd_alloc(stream->dev,
				sizeof(struct virtio_media_cmd_ioctl) + payload,
				sizeof(struct virtio_media_resp_header) +
				payload, num_entries);
	if (IS_ERR(cmd))
		return cmd;
	cmd->buf = to_pinhole_buffer(vb);
	cmd->session = &stream->ctx->session;
	cmd->complete = pinhole_qbuf_complete;
	return cmd;
}

/* The QBUF command that describes a buffer's memory. */
static struct pinhole_cmd *pinhole_buffer_cmd(struct pinhole_buffer *buf)
{
	struct pinhole_mem *mem = vb2_plane_cookie(&buf->vb.vb2_buf, 0);

	return mem->cmd;
}

/*
 * Makes the QBUF command for a buffer's memory. The scatter entries of all
 * planes follow one another; no entry covers parts of two planes. A command with
 * as many entries as before is used again, for memory that may be mapped at other
 * addresses. It goes with the memory of the first plane.
 */
static int pinhole_buffer_describe(struct vb2_buffer *vb)
{
	struct pinhole_mem *mem, *first = NULL;
	int counts[VIDEO_MAX_PLANES];
	unsigned int i, total = 0;
	struct pinhole_cmd *cmd;
	int ret;

	for (i = 0; i < vb->num_planes; i++) {
		mem = vb2_plane_cookie(vb, i);
		if (IS_ERR_OR_NULL(mem))
			return -EINVAL;
		if (!i)
			first = mem;
		counts[i] = pinhole_mem_segments(mem,
						 pinhole_plane_length(vb, i),
						 NULL, 0);
		if (counts[i] < 0)
			return counts[i];
		total += counts[i];
	}
	if (!first)
		return -EINVAL;

	cmd = first->cmd;
	if (!cmd || cmd->num_entries != total) {
		cmd = pinhole_qbuf_alloc(vb, total);
		if (IS_ERR(cmd))
			return PTR_ERR(cmd);
		pinhole_cmd_release(first->cmd);
		first->cmd = cmd;
	}

	total = 0;
	for (i = 0; i < vb->num_planes; i++) {
		ret = pinhole_mem_segments(vb2_plane_cookie(vb, i),
					   pinhole_plane_length(vb, i),
					   cmd->entries + total, counts[i]);
		if (ret < 0)
			return ret;
		total += counts[i];
	}
	return 0;
}

/* videobuf2: a buffer has got new memory. */
int pinhole_buf_init(struct vb2_buffer *vb)
{
	INIT_LIST_HEAD(&to_pinhole_buffer(vb)->node);
	return pinhole_buffer_describe(vb);
}

/*
 * videobuf2: a buffer is about to be queued, with the application's frame in it if it
 * is to be shown. A dma-buf may have been mapped anew
 * since it was attached, at other addresses; other memory stays where it is from
 * buf_init until it is put.
 */
int pinhole_buf_prepare(struct vb2_buffer *vb)
{
	struct pinhole_stream *stream = vb2_get_drv_priv(vb->vb2_queue);
	int ret = pinhole_session_fault(stream->ctx);
	unsigned int i;

	if (ret)
		return ret;
	if (vb->num_planes != stream->num_planes)
		return -EINVAL;
	for (i = 0; i < vb->num_planes; i++)
		if (vb2_plane_size(vb, i) < stream->plane_sizes[i])
			return -EINVAL;
	if (pinhole_is_output(stream)) {
		ret = pinhole_frame_prepare(vb);
		if (ret)
			return ret;
	}
	if (vb->memory == VB2_MEMORY_DMABUF)
		return pinhole_buffer_describe(vb);
	return 0;
}

/*
 * Queues a buffer that videobuf2 has handed over at the device. Its memory was
 * handed to the device before, by videobuf2 (pinhole_mem_prepare()). What is in it
 * may be another frame than when the command was used last.
 */
void pinhole_buffer_submit(struct pinhole_stream *stream,
			   struct pinhole_buffer *buf)
{
	struct pinhole_cmd *cmd = pinhole_buffer_cmd(buf);
	struct vb2_buffer *vb = &buf->vb.vb2_buf;
	unsigned long flags, bytes = 0;
	unsigned int i;

	for (i = 0; i < vb->num_planes; i++)
		bytes += pinhole_plane_length(vb, i);
	pinhole_fill_ioctl(cmd->req, stream->session, VIDIOC_QBUF);
	pinhole_qbuf_fill(buf, cmd->req + sizeof(struct virtio_media_cmd_ioctl));

	spin_lock_irqsave(&stream->lock, flags);
	stream->slots[vb->index] = buf;
	buf->queued = true;
	buf->at_device = true;
	WRITE_ONCE(stream->qbufs, stream->qbufs + 1);
	spin_unlock_irqrestore(&stream->lock, flags);

	trace_pinhole_queue(vb->index, cmd->num_entries, bytes);
	pinhole_cmd_submit(cmd);
}

/* videobuf2 hands over a buffer; before STREAMON it is put by. */
void pinhole_buf_queue(struct vb2_buffer *vb)
{
	struct pinhole_stream *stream = vb2_get_drv_priv(vb->vb2_queue);
	struct pinhole_buffer *buf = to_pinhole_buffer(vb);
	unsigned long flags;
	bool submit;

	lockdep_assert_held(&stream->ctx->queue_mutex);
	spin_lock_irqsave(&stream->lock, flags);
	buf->at_device = false;
	buf->returned = false;
	list_add_tail(&buf->node, &stream->buffers);
	submit = stream->state == PINHOLE_STREAMING && !stream->failed;
	spin_unlock_irqrestore(&stream->lock, flags);
	if (submit)
		pinhole_buffer_submit(stream, buf);
}

/* Takes a buffer back from the device; NULL if what it says of it is right. */
static const char *pinhole_buffer_take(struct pinhole_stream *stream,
				       const struct v4l2_buffer *b,
				       const struct v4l2_plane *planes)
{
	struct pinhole_buffer *buf;
	const char *wrong;
	u32 index;

	if (b->index >= ARRAY_SIZE(stream->slots))
		return "returned a buffer with an index out of range";
	index = array_index_nospec(b->index, ARRAY_SIZE(stream->slots));
	buf = stream->slots[index];
	if (!buf)
		return "returned a buffer that it does not have";
	wrong = pinhole_frame_take(buf, b, planes);
	if (wrong)
		return wrong;
	pinhole_buffer_left(stream, buf);
	pinhole_buffer_settle(stream, buf);
	return NULL;
}

/*
 * An event of a stream that is stopped or dead is late, not wrong: the device may
 * have sent it before it was told.
 */
static const char *pinhole_stream_returned(struct pinhole_stream *stream,
					   const struct virtio_media_event_dqbuf *event,
					   u32 used)
{
	size_t length = pinhole_is_multiplanar(stream) ? sizeof(*event) :
			offsetof(struct virtio_media_event_dqbuf, planes);
	const char *wrong = NULL;
	unsigned long flags;

	spin_lock_irqsave(&stream->lock, flags);
	if (stream->state != PINHOLE_STOPPED && !stream->failed)
		wrong = used < length ?
			"sent an event of the wrong length" :
			pinhole_buffer_take(stream, &event->buffer,
					    event->planes);
	spin_unlock_irqrestore(&stream->lock, flags);
	return wrong;
}

/* Whether a stream of the context is to hear of buffers. */
static bool pinhole_context_listens(struct pinhole_context *ctx)
{
	struct pinhole_stream *stream;

	pinhole_for_each_stream(stream, ctx)
		if (READ_ONCE(stream->state) != PINHOLE_STOPPED &&
		    !READ_ONCE(stream->failed))
			return true;
	return false;
}

/**
 * pinhole_buffer_returned() - a DQBUF event has come
 * @dev: device
 * @session_id: session that it is for
 * @event: the event, out of the device's reach
 * @used: length of @event in bytes
 *
 * Context: Any; the event ring's lock is held.
 * Return: False if there is no such session.
 */
bool pinhole_buffer_returned(struct pinhole_device *dev, u32 session_id,
			     const struct virtio_media_event_dqbuf *event,
			     u32 used)
{
	struct pinhole_stream *stream;
	struct pinhole_context *ctx;
	const char *wrong = NULL;

	rcu_read_lock();
	ctx = pinhole_context_find(dev, session_id);
	if (!ctx)
		goto unlock;
	stream = used < offsetofend(struct virtio_media_event_dqbuf, buffer.type) ?
		 ctx->streams :
		 pinhole_context_stream(ctx, event->buffer.type);
	if (stream)
		wrong = pinhole_stream_returned(stream, event, used);
	else if (pinhole_context_listens(ctx))
		wrong = "returned a buffer of the wrong type";
	if (wrong)
		dev->up->fail(ctx, wrong);
unlock:
	rcu_read_unlock();
	return ctx;
}

/* Gives a buffer back to videobuf2; it stands in no list any more. */
void pinhole_buffer_done(struct pinhole_buffer *buf)
{
	struct vb2_buffer *vb = &buf->vb.vb2_buf;
	unsigned long bytes = 0;
	unsigned int i;

	for (i = 0; i < vb->num_planes; i++)
		bytes += vb2_get_plane_payload(vb, i);
	trace_pinhole_done(vb->index, buf->vb.sequence, bytes, buf->result);
	vb2_buffer_done(vb, buf->result);
}

/*
 * Gives buffers back to videobuf2, in order and therefore by one at a time: who
 * finds another at it leaves his to the other. No more at once than a queue has.
 */
static void pinhole_buffers_give(struct pinhole_stream *stream)
{
	unsigned int left = VIDEO_MAX_FRAME;
	struct pinhole_buffer *buf;
	unsigned long flags;

	spin_lock_irqsave(&stream->lock, flags);
	if (stream->giving)
		goto unlock;
	stream->giving = true;
	while (left-- && !list_empty(&stream->done)) {
		buf = list_first_entry(&stream->done, struct pinhole_buffer,
				       node);
		list_del_init(&buf->node);
		spin_unlock_irqrestore(&stream->lock, flags);
		pinhole_buffer_done(buf);
		spin_lock_irqsave(&stream->lock, flags);
	}
	stream->giving = false;
	wake_up_all(&stream->idle);
	if (!list_empty(&stream->done))
		queue_work(system_highpri_wq, &stream->work);
unlock:
	spin_unlock_irqrestore(&stream->lock, flags);
}

void pinhole_buffers_work(struct work_struct *work)
{
	pinhole_buffers_give(container_of(work, struct pinhole_stream, work));
}

/**
 * pinhole_buffers_done() - give back the buffers that are done
 * @dev: device
 *
 * Where that copies whole frames out of bounce buffers it is not for an interrupt.
 *
 * Context: Any, without a lock of this driver that is a spinlock.
 */
void pinhole_buffers_done(struct pinhole_device *dev)
{
	struct pinhole_stream *stream;
	struct pinhole_context *ctx;

	rcu_read_lock();
	pinhole_for_each_context(ctx, dev) {
		pinhole_for_each_stream(stream, ctx) {
			if (list_empty_careful(&stream->done))
				continue;
			if (dev->dma.sync)
				queue_work(system_highpri_wq, &stream->work);
			else
				pinhole_buffers_give(stream);
		}
	}
	rcu_read_unlock();
}
