// SPDX-License-Identifier: GPL-2.0
/*
 * What the device says of a frame: how long it is, when it was taken, and of what
 * kind it is.
 */
#include <linux/ktime.h>

#include "pinhole.h"

/* What goes to applications of the flags that the device gives a frame. */
#define PINHOLE_FRAME_FLAGS						\
	(V4L2_BUF_FLAG_KEYFRAME | V4L2_BUF_FLAG_PFRAME |		\
	 V4L2_BUF_FLAG_BFRAME | V4L2_BUF_FLAG_TIMECODE |		\
	 V4L2_BUF_FLAG_LAST)

/* How much of a plane the device may write to: a frame, if there is more. */
u32 pinhole_plane_length(struct vb2_buffer *vb, unsigned int plane)
{
	struct pinhole_device *dev = vb2_get_drv_priv(vb->vb2_queue);

	return min_t(unsigned long, vb2_plane_size(vb, plane),
		     dev->stream.plane_sizes[plane]);
}

/* The device's time of a frame; 0 if it has none of a monotonic clock. */
static s64 pinhole_frame_time(const struct v4l2_buffer *b)
{
	s64 sec = b->timestamp.tv_sec;
	s64 usec = b->timestamp.tv_usec;

	if ((b->flags & V4L2_BUF_FLAG_TIMESTAMP_MASK) !=
	    V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC)
		return 0;
	if (sec < 0 || sec >= KTIME_SEC_MAX || usec < 0 || usec >= USEC_PER_SEC)
		return 0;
	return sec * NSEC_PER_SEC + usec * NSEC_PER_USEC;
}

/* Takes over what the device says of a frame's planes; NULL if it is right. */
static const char *pinhole_frame_planes(struct vb2_buffer *vb,
					const struct v4l2_plane *planes)
{
	unsigned int i;

	for (i = 0; i < vb->num_planes; i++) {
		if (planes[i].bytesused > pinhole_plane_length(vb, i))
			return "wrote more than a plane holds";
		if (planes[i].data_offset > planes[i].bytesused)
			return "returned a plane whose data begin after their end";
	}
	for (i = 0; i < vb->num_planes; i++) {
		vb2_set_plane_payload(vb, i, planes[i].bytesused);
		vb->planes[i].data_offset = planes[i].data_offset;
	}
	return NULL;
}

/**
 * pinhole_frame_take() - take over what the device says of a frame
 * @buf: buffer that the frame is in
 * @b: what it says
 * @planes: what it says of the planes, if it is multi-planar
 *
 * Which end of a frame the times are of videobuf2 knows of the queue only.
 *
 * Context: Any; the stream's lock is held.
 * Return: NULL, or what is wrong with it.
 */
const char *pinhole_frame_take(struct pinhole_buffer *buf,
			       const struct v4l2_buffer *b,
			       const struct v4l2_plane *planes)
{
	struct vb2_buffer *vb = &buf->vb.vb2_buf;
	struct pinhole_device *dev = vb2_get_drv_priv(vb->vb2_queue);
	struct pinhole_stream *stream = &dev->stream;
	const char *wrong;

	lockdep_assert_held(&stream->lock);
	if (pinhole_is_multiplanar(dev)) {
		if (b->length != vb->num_planes)
			return "returned a buffer with other planes";
		wrong = pinhole_frame_planes(vb, planes);
		if (wrong)
			return wrong;
	} else {
		if (b->bytesused > pinhole_plane_length(vb, 0))
			return "wrote more than a buffer holds";
		vb2_set_plane_payload(vb, 0, b->bytesused);
	}

	vb->timestamp = pinhole_clock_stamp(&stream->clock, pinhole_frame_time(b),
					    ktime_get_ns());
	WRITE_ONCE(stream->queue.timestamp_flags,
		   V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC |
		   (b->flags & V4L2_BUF_FLAG_TSTAMP_SRC_SOE));
	buf->vb.sequence = b->sequence;
	stream->sequence = b->sequence;
	buf->vb.field = V4L2_FIELD_NONE;
	buf->vb.flags &= ~PINHOLE_FRAME_FLAGS;
	buf->vb.flags |= b->flags & PINHOLE_FRAME_FLAGS;
	buf->vb.timecode = b->timecode;
	buf->result = b->flags & V4L2_BUF_FLAG_ERROR ? VB2_BUF_STATE_ERROR :
						       VB2_BUF_STATE_DONE;
	return NULL;
}

/* A buffer was refused: it is no frame, and stands where the last one was. */
void pinhole_frame_none(struct pinhole_buffer *buf)
{
	struct vb2_buffer *vb = &buf->vb.vb2_buf;
	struct pinhole_device *dev = vb2_get_drv_priv(vb->vb2_queue);
	struct pinhole_stream *stream = &dev->stream;
	unsigned int i;

	lockdep_assert_held(&stream->lock);
	vb->timestamp = pinhole_clock_stamp(&stream->clock, 0, ktime_get_ns());
	buf->vb.sequence = stream->sequence;
	buf->vb.field = V4L2_FIELD_NONE;
	buf->vb.flags &= ~PINHOLE_FRAME_FLAGS;
	buf->result = VB2_BUF_STATE_ERROR;
	for (i = 0; i < vb->num_planes; i++)
		vb2_set_plane_payload(vb, i, 0);
}
