// SPDX-License-Identifier: GPL-2.0
/*
 * The buffer queue: what videobuf2 asks of the driver.
 */
#include "pinhole.h"

static int pinhole_queue_setup(struct vb2_queue *q, unsigned int *nbuffers,
			       unsigned int *nplanes, unsigned int sizes[],
			       struct device *alloc_devs[])
{
	struct pinhole_stream *stream = vb2_get_drv_priv(q);
	int ret = pinhole_session_fault(stream->ctx);
	struct pinhole_device *dev = stream->dev;
	unsigned int i;

	if (ret)
		return ret;
	/*
	 * The first buffers decide on the format that all are made for. videobuf2 asks
	 * again if it could not make all of them.
	 */
	if (!vb2_is_busy(q) && !stream->allocated) {
		pinhole_controls_grab(stream->ctx, true);
		ret = pinhole_take_format(stream);
		if (ret)
			return ret;
	}
	if (!stream->allocated && !vb2_is_streaming(q))
		pinhole_region_choose(stream, !*nplanes);
	if (dev->region.used) {
		/* The device makes all its buffers at once. */
		if (*nplanes)
			return -EINVAL;
		ret = pinhole_region_request(dev, nbuffers);
		if (ret)
			return ret;
	}

	if (*nplanes) {
		if (*nplanes != stream->num_planes)
			return -EINVAL;
		for (i = 0; i < stream->num_planes; i++)
			if (sizes[i] < stream->plane_sizes[i])
				return -EINVAL;
		return 0;
	}
	*nplanes = stream->num_planes;
	for (i = 0; i < stream->num_planes; i++)
		sizes[i] = stream->plane_sizes[i];
	return 0;
}

static const struct vb2_ops pinhole_vb2_ops = {
	PINHOLE_VB2_WAIT_OPS
	.queue_setup = pinhole_queue_setup,
	.buf_out_validate = pinhole_buf_out_validate,
	.buf_init = pinhole_buf_init,
	.buf_prepare = pinhole_buf_prepare,
	.buf_queue = pinhole_buf_queue,
	.start_streaming = pinhole_start_streaming,
	.stop_streaming = pinhole_stop_streaming,
};

/*
 * Initialises a buffer queue, whose type is set. One of two has no read() or write(),
 * begins to stream without a buffer, as the other may have some, and passes on the
 * times of frames that others are made of.
 */
static int pinhole_queue_init(struct pinhole_stream *stream)
{
	const bool one = !pinhole_is_m2m(stream->dev);
	struct vb2_queue *q = &stream->queue;

	q->io_modes = VB2_MMAP | VB2_USERPTR | VB2_DMABUF;
	if (one)
		q->io_modes |= pinhole_is_output(stream) ? VB2_WRITE : VB2_READ;
	q->dev = &stream->mem_dev;
	q->lock = &stream->ctx->queue_mutex;
	q->ops = &pinhole_vb2_ops;
	q->mem_ops = &pinhole_mem_ops;
	q->drv_priv = stream;
	q->buf_struct_size = sizeof(struct pinhole_buffer);
	q->timestamp_flags = one ? V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC :
				   V4L2_BUF_FLAG_TIMESTAMP_COPY;
	pinhole_set_min_queued(q, one);
	return vb2_queue_init(q);
}

/* Initialises the buffer queues of a context, whose types are set. */
int pinhole_context_queues(struct pinhole_context *ctx)
{
	struct pinhole_stream *stream;
	int ret = 0;

	pinhole_for_each_stream(stream, ctx)
		if (!ret)
			ret = pinhole_queue_init(stream);
	return ret;
}
