// SPDX-License-Identifier: GPL-2.0
/*
 * The stream: its start, its stop, and what ends it before.
 */
#include "pinhole.h"
#include "trace.h"

/* A stream is dead until it is stopped; whether it runs, and that is news. */
static bool pinhole_stream_fail(struct pinhole_stream *stream, bool *runs)
{
	enum pinhole_state state;
	unsigned long flags;
	bool again;

	spin_lock_irqsave(&stream->lock, flags);
	state = stream->state;
	again = stream->failed;
	stream->failed = state != PINHOLE_STOPPED;
	/* STREAMON will fail, and the next one is to find the queue as it was. */
	if (stream->failed && state != PINHOLE_STARTING)
		vb2_queue_error(&stream->queue);
	spin_unlock_irqrestore(&stream->lock, flags);

	*runs |= state != PINHOLE_STOPPED;
	return state != PINHOLE_STOPPED && !again;
}

/* The device broke the rules. The streams are dead after that: logged once. */
void pinhole_streams_fail(struct pinhole_context *ctx, const char *why)
{
	struct device *dev = &ctx->dev->vdev->dev;
	struct pinhole_stream *stream;
	bool runs = false, news = false;

	pinhole_for_each_stream(stream, ctx)
		news |= pinhole_stream_fail(stream, &runs);
	if (!why)
		return;
	if (!runs)
		dev_warn_ratelimited(dev, "device %s\n", why);
	else if (news)
		dev_err_ratelimited(dev, "device %s: the stream is dead\n", why);
}

/* Nobody waits for the device any longer, in or for this stream. */
static void pinhole_stream_fault(struct pinhole_stream *stream)
{
	unsigned long flags;

	spin_lock_irqsave(&stream->lock, flags);
	wake_up_all(&stream->idle);
	if (stream->state == PINHOLE_STREAMING ||
	    stream->state == PINHOLE_STOPPING)
		vb2_queue_error(&stream->queue);
	spin_unlock_irqrestore(&stream->lock, flags);
}

/*
 * The device was given up: nobody waits for it any longer. A stream that starts
 * will see to it itself, as in pinhole_streams_fail(). Where no stream relies on the
 * device as it is it can be set up anew at once.
 */
void pinhole_streams_fault(struct pinhole_device *dev)
{
	struct pinhole_stream *stream;
	struct pinhole_context *ctx;

	rcu_read_lock();
	pinhole_for_each_context(ctx, dev)
		pinhole_for_each_stream(stream, ctx)
			pinhole_stream_fault(stream);
	rcu_read_unlock();
	pinhole_session_recover(dev);
}

/* A stream's bit in what its session is busy with. */
static u32 pinhole_stream_bit(const struct pinhole_stream *stream)
{
	return BIT(stream - stream->ctx->streams);
}

/* The device's own buffers went with the session that had them. */
static int pinhole_stream_own(struct pinhole_stream *stream,
			      struct v4l2_requestbuffers *req)
{
	struct pinhole_device *dev = stream->dev;
	int ret = pinhole_session_ready(stream->ctx);

	if (!ret && !pinhole_region_has_buffers(dev))
		ret = -EIO;
	req->count = dev->region.count;
	return ret;
}

/* What the device has in the session is not known any more: it ends for all streams. */
static void pinhole_stream_lose_session(struct pinhole_stream *stream)
{
	pinhole_session_replace(stream->ctx, 0);
	if (pinhole_is_m2m(stream->dev))
		pinhole_streams_fail(stream->ctx, NULL);
}

/*
 * Begins a stream, in a session that knows its buffers: a session that was lost
 * before is replaced, and so is a device that was given up set up anew. From here
 * on the stream and the session are bound to each other.
 */
static int pinhole_stream_begin(struct pinhole_stream *stream,
				struct v4l2_requestbuffers *req)
{
	const struct pinhole_call call = {
		.cmd = VIDIOC_REQBUFS,
		.payload = req,
		.length = sizeof(*req),
	};
	struct pinhole_context *ctx = stream->ctx;
	struct pinhole_device *dev = stream->dev;
	int ret;

	if (mutex_lock_killable(&dev->commands.mutex))
		return -ERESTARTSYS;
	ret = dev->region.used ? pinhole_stream_own(stream, req) :
				 pinhole_call_locked(ctx, &call);
	if (!ret) {
		WRITE_ONCE(ctx->session.busy,
			   ctx->session.busy | pinhole_stream_bit(stream));
		spin_lock_irq(&stream->lock);
		stream->state = PINHOLE_STARTING;
		stream->session = ctx->session.id;
		stream->sequence = 0;
		pinhole_clock_start(&stream->clock);
		spin_unlock_irq(&stream->lock);
	} else if (ret == -ERESTARTSYS) {
		/* Buffers that nobody knows of would keep the format as it is. */
		pinhole_stream_lose_session(stream);
	}
	mutex_unlock(&dev->commands.mutex);
	return ret;
}

/* Whether the session is the one that has the stream's buffers. */
static bool pinhole_stream_has_session(struct pinhole_stream *stream)
{
	const struct pinhole_session *session = &stream->ctx->session;

	lockdep_assert_held(&stream->dev->commands.mutex);
	return !READ_ONCE(session->bad) && session->id == stream->session;
}

/* Forwards an ioctl in the session of the stream; -EIO if that is gone. */
static int pinhole_stream_ioctl(struct pinhole_stream *stream, unsigned int cmd,
				void *payload)
{
	struct pinhole_device *dev = stream->dev;
	int ret;

	if (mutex_lock_killable(&dev->commands.mutex))
		return -ERESTARTSYS;
	ret = pinhole_fault(dev);
	if (!ret && !pinhole_stream_has_session(stream))
		ret = -EIO;
	if (!ret) {
		ret = pinhole_session_ioctl(stream->ctx, cmd, payload);
		if (ret == -ENODEV && !pinhole_fault(dev)) {
			pinhole_session_lost(dev, stream->session);
			ret = -EIO;
		}
	}
	mutex_unlock(&dev->commands.mutex);
	return ret;
}

/* Waits until every QBUF was answered; sets the fault if they are not. */
static void pinhole_wait_qbufs(struct pinhole_stream *stream)
{
	struct pinhole_device *dev = stream->dev;

	if (!wait_event_timeout(stream->idle,
				!READ_ONCE(stream->qbufs) || pinhole_fault(dev),
				pinhole_timeout())) {
		pinhole_commands_look(dev);
		if (READ_ONCE(stream->qbufs))
			pinhole_set_fault(dev, -EIO, "does not respond to QBUF");
	}
}

/*
 * Takes all buffers back from the device: after it the device uses none. A
 * device that refuses to stop, or cannot be told to for want of memory, loses its
 * session, which stops it as well. Another is opened by who needs it: this waits
 * for no more than it must, for no signal ends it. A device that was given up is
 * reset, before and not after its memory is somebody else's again.
 */
static void pinhole_stream_stop(struct pinhole_stream *stream)
{
	struct v4l2_requestbuffers none = {
		.type = stream->queue.type,
		.memory = V4L2_MEMORY_USERPTR,
	};
	struct pinhole_context *ctx = stream->ctx;
	struct pinhole_device *dev = stream->dev;
	int type = stream->queue.type;
	int ret;

	mutex_lock(&dev->commands.mutex);
	if (!pinhole_fault(dev) && pinhole_stream_has_session(stream)) {
		ret = pinhole_session_ioctl(ctx, VIDIOC_STREAMOFF, &type);
		pinhole_wait_qbufs(stream);
		if (!ret && !dev->region.used)
			ret = pinhole_session_ioctl(ctx, VIDIOC_REQBUFS, &none);
		if (ret)
			pinhole_stream_lose_session(stream);
	}
	if (!pinhole_fault(dev) && READ_ONCE(ctx->session.bad)) {
		if (ctx->session.open)
			pinhole_session_close(ctx);
		pinhole_stream_lose_session(stream);
	}
	pinhole_wait_qbufs(stream);
	pinhole_events_drain(dev);
	if (pinhole_fault(dev))
		pinhole_virtqueues_down(dev);
	mutex_unlock(&dev->commands.mutex);
}

/* Begins to give buffers back, alone, unless somebody is at it. */
static bool pinhole_stream_quiet(struct pinhole_stream *stream)
{
	bool quiet;

	spin_lock_irq(&stream->lock);
	quiet = !stream->giving;
	stream->giving = true;
	spin_unlock_irq(&stream->lock);
	return quiet;
}

/*
 * Gives all buffers back to videobuf2, in a state or as what they came back. The
 * device has none of them.
 */
static void pinhole_stream_end(struct pinhole_stream *stream,
			       enum vb2_buffer_state state)
{
	struct pinhole_buffer *buf, *tmp;
	LIST_HEAD(buffers);
	LIST_HEAD(done);

	lockdep_assert_held(&stream->ctx->queue_mutex);
	wait_event(stream->idle, pinhole_stream_quiet(stream));

	spin_lock_irq(&stream->lock);
	stream->state = PINHOLE_STOPPED;
	stream->failed = false;
	memset(stream->slots, 0, sizeof(stream->slots));
	list_splice_init(&stream->done, &done);
	list_splice_init(&stream->buffers, &buffers);
	stream->giving = false;
	spin_unlock_irq(&stream->lock);

	list_for_each_entry_safe(buf, tmp, &done, node) {
		list_del_init(&buf->node);
		pinhole_buffer_done(buf);
	}
	list_for_each_entry_safe(buf, tmp, &buffers, node) {
		struct vb2_buffer *vb = &buf->vb.vb2_buf;

		list_del_init(&buf->node);
		buf->at_device = false;
		if (state == VB2_BUF_STATE_ERROR)
			trace_pinhole_done(vb->index, 0, 0, state);
		vb2_buffer_done(vb, state);
	}
	pinhole_session_done(stream->ctx, pinhole_stream_bit(stream));
}

/* Whether the device's format is still the one that the buffers are made for. */
static int pinhole_stream_check_format(struct pinhole_stream *stream)
{
	struct v4l2_format f = { .type = stream->queue.type };
	int ret = pinhole_stream_ioctl(stream, VIDIOC_G_FMT, &f);

	return ret ? ret : pinhole_check_format(stream, &f);
}

/* Queues the buffers that are there, of which the device takes @count. */
static int pinhole_stream_submit(struct pinhole_stream *stream,
				 unsigned int count)
{
	struct pinhole_buffer *buf;

	/* Nothing leaves the list before the stream has started, or failed to. */
	list_for_each_entry(buf, &stream->buffers, node) {
		if (buf->vb.vb2_buf.index < count) {
			pinhole_buffer_submit(stream, buf);
			continue;
		}
		dev_err_ratelimited(&stream->dev->vdev->dev,
				    "device takes only %u buffers\n", count);
		return -ENOBUFS;
	}
	return 0;
}

/* The device streams: so do we, unless something was wrong meanwhile. */
static int pinhole_stream_started(struct pinhole_stream *stream)
{
	struct pinhole_buffer *buf, *tmp;
	bool failed;

	spin_lock_irq(&stream->lock);
	failed = stream->failed || pinhole_session_fault(stream->ctx);
	if (!failed) {
		stream->state = PINHOLE_STREAMING;
		list_for_each_entry_safe(buf, tmp, &stream->buffers, node)
			pinhole_buffer_settle(stream, buf);
	}
	spin_unlock_irq(&stream->lock);
	if (failed)
		return -EIO;
	pinhole_buffers_done(stream->dev);
	return 0;
}

/* videobuf2: STREAMON. Waits for the device. */
int pinhole_start_streaming(struct vb2_queue *q, unsigned int count)
{
	struct pinhole_stream *stream = vb2_get_drv_priv(q);
	struct pinhole_stream *other;
	struct v4l2_requestbuffers req = {
		.count = VIDEO_MAX_FRAME,
		.type = q->type,
		.memory = V4L2_MEMORY_USERPTR,
	};
	int type = q->type;
	int ret;

	/*
	 * The last stream may have ended by LAST, and without STREAMOFF. Of a device from
	 * memory to memory, CAPTURE's goes on when OUTPUT's begins anew.
	 */
	pinhole_for_each_stream(other, stream->ctx)
		vb2_clear_last_buffer_dequeued(&other->queue);
	ret = pinhole_stream_begin(stream, &req);
	if (ret)
		goto err_end;
	ret = pinhole_stream_check_format(stream);
	if (!ret)
		ret = pinhole_stream_submit(stream, req.count);
	if (!ret)
		ret = pinhole_stream_ioctl(stream, VIDIOC_STREAMON, &type);
	if (!ret)
		ret = pinhole_stream_started(stream);
	if (ret)
		goto err_stop;

	pinhole_watchdog_start(stream->dev);
	return 0;

err_stop:
	pinhole_stream_stop(stream);
err_end:
	pinhole_stream_end(stream, VB2_BUF_STATE_QUEUED);
	return ret;
}

/* videobuf2: STREAMOFF. Waits for the device, which uses no buffer after. */
void pinhole_stop_streaming(struct vb2_queue *q)
{
	struct pinhole_stream *stream = vb2_get_drv_priv(q);

	spin_lock_irq(&stream->lock);
	stream->state = PINHOLE_STOPPING;
	spin_unlock_irq(&stream->lock);
	pinhole_commands_cancel_qbufs(stream);

	/* The streams of other files are still to be looked after. */
	if (!pinhole_is_m2m(stream->dev))
		pinhole_watchdog_stop(stream->dev);
	pinhole_stream_stop(stream);
	pinhole_stream_end(stream, VB2_BUF_STATE_ERROR);
}

void pinhole_stream_init(struct pinhole_stream *stream,
			 struct pinhole_context *ctx)
{
	stream->ctx = ctx;
	stream->dev = ctx->dev;
	spin_lock_init(&stream->lock);
	INIT_LIST_HEAD(&stream->buffers);
	INIT_LIST_HEAD(&stream->done);
	init_waitqueue_head(&stream->idle);
	INIT_WORK(&stream->work, pinhole_buffers_work);
}

/* Nobody uses the stream any more. */
void pinhole_stream_exit(struct pinhole_stream *stream)
{
	cancel_work_sync(&stream->work);
}
