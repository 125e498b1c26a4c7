// SPDX-License-Identifier: GPL-2.0
/*
 * The buffer queue: what videobuf2 asks of the driver.
 */
#include "pinhole.h"

static int pinhole_queue_setup(struct vb2_queue *q, unsigned int *nbuffers,
			       unsigned int *nplanes, unsigned int sizes[],
			       struct device *alloc_devs[])
{
	struct pinhole_device *dev = vb2_get_drv_priv(q);
	const struct pinhole_stream *stream = &dev->stream;
	unsigned int i;
	int ret;

	if (pinhole_fault(dev))
		return pinhole_fault(dev);
	/*
	 * The first buffers decide on the format that all are made for. videobuf2 asks
	 * again if it could not make all of them.
	 */
	if (!vb2_is_busy(q) && !stream->allocated) {
		pinhole_controls_grab(dev, true);
		ret = pinhole_take_format(dev);
		if (ret)
			return ret;
	}
	if (!stream->allocated && !vb2_is_streaming(q))
		pinhole_region_choose(dev, !*nplanes);
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

/* Initialises the buffer queue, whose type is set. */
int pinhole_queue_init(struct pinhole_device *dev)
{
	struct vb2_queue *q = &dev->stream.queue;

	q->io_modes = VB2_MMAP | VB2_USERPTR | VB2_DMABUF |
		      (pinhole_is_output(dev) ? VB2_WRITE : VB2_READ);
	q->dev = &dev->vdev->dev;
	q->lock = &dev->stream.queue_mutex;
	q->ops = &pinhole_vb2_ops;
	q->mem_ops = &pinhole_mem_ops;
	q->drv_priv = dev;
	q->buf_struct_size = sizeof(struct pinhole_buffer);
	q->timestamp_flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
	pinhole_set_min_queued(q, 1);
	return vb2_queue_init(q);
}
