// SPDX-License-Identifier: GPL-2.0
/*
 * A frame in a buffer: how long it is, when it was taken or shown, and of what kind
 * it is. The application says it to the device if it is the application's, and the
 * device says the rest.
 */
#include <linux/ktime.h>

#include "pinhole.h"

/* What goes to applications of the flags that the device gives a frame. */
#define PINHOLE_FRAME_FLAGS						\
	(V4L2_BUF_FLAG_KEYFRAME | V4L2_BUF_FLAG_PFRAME |		\
	 V4L2_BUF_FLAG_BFRAME | V4L2_BUF_FLAG_TIMECODE |		\
	 V4L2_BUF_FLAG_LAST)

/* What the device is told of the flags that the application gives a frame. */
#define PINHOLE_OUTPUT_FLAGS						\
	(V4L2_BUF_FLAG_KEYFRAME | V4L2_BUF_FLAG_PFRAME |		\
	 V4L2_BUF_FLAG_BFRAME | V4L2_BUF_FLAG_TIMECODE)

/* How much of a plane the device has: what a frame needs, if there is more. */
u32 pinhole_plane_length(struct vb2_buffer *vb, unsigned int plane)
{
	struct pinhole_stream *stream = vb2_get_drv_priv(vb->vb2_queue);

	return min_t(unsigned long, vb2_plane_size(vb, plane),
		     pinhole_plane_needed(stream, plane));
}

/*
 * Where the application's frame ends in a plane. What it claims beyond a frame is
 * none of the device's business.
 */
static unsigned long pinhole_frame_end(struct vb2_buffer *vb,
				       unsigned int plane)
{
	struct pinhole_stream *stream = vb2_get_drv_priv(vb->vb2_queue);

	return min_t(unsigned long, vb2_get_plane_payload(vb, plane),
		     vb->planes[plane].data_offset +
		     (unsigned long)stream->plane_sizes[plane]);
}

/**
 * pinhole_frame_prepare() - look at the application's frame
 * @vb: buffer that it is in
 *
 * A payload of 0 is that of write(), which queues a buffer when it is full:
 * __fill_vb2_buffer() of videobuf2 overwrites the payload then with what no QBUF
 * has said (5.0 to 7.3). QBUF with 0 means all of the buffer, too, and videobuf2
 * says so.
 *
 * Context: Process context, before the buffer is queued.
 * Return: 0, or -EINVAL if the frame begins too late or after its end, or ends beyond
 * what the device has of the buffer.
 */
int pinhole_frame_prepare(struct vb2_buffer *vb)
{
	unsigned int i;

	for (i = 0; i < vb->num_planes; i++) {
		if (!vb2_get_plane_payload(vb, i))
			vb2_set_plane_payload(vb, i, vb2_plane_size(vb, i));
		if (vb->planes[i].data_offset > PINHOLE_MAX_DATA_OFFSET ||
		    vb->planes[i].data_offset >= vb2_get_plane_payload(vb, i) ||
		    pinhole_frame_end(vb, i) > pinhole_plane_length(vb, i))
			return -EINVAL;
	}
	return 0;
}

/* videobuf2: which fields are in a buffer that is to be shown. Frames are whole. */
int pinhole_buf_out_validate(struct vb2_buffer *vb)
{
	struct vb2_v4l2_buffer *vbuf = to_vb2_v4l2_buffer(vb);

	if (vbuf->field == V4L2_FIELD_ANY)
		vbuf->field = V4L2_FIELD_NONE;
	return vbuf->field == V4L2_FIELD_NONE ? 0 : -EINVAL;
}

/* Tells the device what the application says of its frame. */
void pinhole_frame_give(struct pinhole_buffer *buf, struct v4l2_buffer *b,
			struct v4l2_plane *planes)
{
	struct vb2_buffer *vb = &buf->vb.vb2_buf;
	unsigned int i;

	b->field = buf->vb.field;
	b->flags = buf->vb.flags & PINHOLE_OUTPUT_FLAGS;
	if (b->flags & V4L2_BUF_FLAG_TIMECODE)
		b->timecode = buf->vb.timecode;
	if (vb->vb2_queue->copy_timestamp) {
		b->flags |= V4L2_BUF_FLAG_TIMESTAMP_COPY |
			    (buf->vb.flags & V4L2_BUF_FLAG_TSTAMP_SRC_MASK);
		v4l2_buffer_set_timestamp(b, vb->timestamp);
	}
	if (!pinhole_is_multiplanar(vb2_get_drv_priv(vb->vb2_queue))) {
		b->bytesused = pinhole_frame_end(vb, 0);
		return;
	}
	for (i = 0; i < vb->num_planes; i++) {
		planes[i].bytesused = pinhole_frame_end(vb, i);
		planes[i].data_offset = vb->planes[i].data_offset;
	}
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

/* NULL if what the device says of a frame's length is possible. */
static const char *pinhole_frame_check(struct vb2_buffer *vb,
				       const struct v4l2_buffer *b,
				       const struct v4l2_plane *planes)
{
	struct pinhole_stream *stream = vb2_get_drv_priv(vb->vb2_queue);
	const bool output = pinhole_is_output(stream);
	unsigned int i;

	if (!pinhole_is_multiplanar(stream)) {
		if (b->bytesused <= pinhole_plane_length(vb, 0))
			return NULL;
		return output ? "read more than a buffer holds" :
				"wrote more than a buffer holds";
	}
	if (b->length != vb->num_planes)
		return "returned a buffer with other planes";
	for (i = 0; i < vb->num_planes; i++) {
		if (planes[i].bytesused > pinhole_plane_length(vb, i))
			return output ? "read more than a plane holds" :
					"wrote more than a plane holds";
		if (!output && planes[i].data_offset > planes[i].bytesused)
			return "returned a plane whose data begin after their end";
	}
	return NULL;
}

/* Takes over what the device has written, of which it was looked what it says. */
static void pinhole_frame_filled(struct pinhole_buffer *buf,
				 const struct v4l2_buffer *b,
				 const struct v4l2_plane *planes)
{
	struct vb2_buffer *vb = &buf->vb.vb2_buf;
	unsigned int i;

	buf->vb.field = V4L2_FIELD_NONE;
	buf->vb.flags &= ~PINHOLE_FRAME_FLAGS;
	buf->vb.flags |= b->flags & PINHOLE_FRAME_FLAGS;
	buf->vb.timecode = b->timecode;
	if (!pinhole_is_multiplanar(vb2_get_drv_priv(vb->vb2_queue))) {
		vb2_set_plane_payload(vb, 0, b->bytesused);
		return;
	}
	for (i = 0; i < vb->num_planes; i++) {
		vb2_set_plane_payload(vb, i, planes[i].bytesused);
		vb->planes[i].data_offset = planes[i].data_offset;
	}
}

/*
 * When a frame was taken or shown. One that is made of another has the other's time,
 * and the application has given that one, which keeps it. Which end of a frame the
 * other times are of videobuf2 knows of the queue only.
 */
static void pinhole_frame_stamp(struct pinhole_buffer *buf,
				const struct v4l2_buffer *b)
{
	struct vb2_buffer *vb = &buf->vb.vb2_buf;
	struct pinhole_stream *stream = vb2_get_drv_priv(vb->vb2_queue);
	const u32 source = b->flags & V4L2_BUF_FLAG_TSTAMP_SRC_MASK;

	if (!stream->queue.copy_timestamp) {
		vb->timestamp = pinhole_clock_stamp(&stream->clock,
						    pinhole_frame_time(b),
						    ktime_get_ns());
		WRITE_ONCE(stream->queue.timestamp_flags,
			   V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC |
			   (source & V4L2_BUF_FLAG_TSTAMP_SRC_SOE));
	} else if (!pinhole_is_output(stream)) {
		vb->timestamp = v4l2_buffer_get_timestamp(b);
		buf->vb.flags &= ~V4L2_BUF_FLAG_TSTAMP_SRC_MASK;
		buf->vb.flags |= source;
	}
}

/**
 * pinhole_frame_take() - take over what the device says of a frame
 * @buf: buffer that the frame is in
 * @b: what it says
 * @planes: what it says of the planes, if it is multi-planar
 *
 * Of a frame that the device has read everything but its time, its number and whether
 * it went well stays what the application has said.
 *
 * Context: Any; the stream's lock is held.
 * Return: NULL, or what is wrong with it.
 */
const char *pinhole_frame_take(struct pinhole_buffer *buf,
			       const struct v4l2_buffer *b,
			       const struct v4l2_plane *planes)
{
	struct vb2_buffer *vb = &buf->vb.vb2_buf;
	struct pinhole_stream *stream = vb2_get_drv_priv(vb->vb2_queue);
	const char *wrong;

	lockdep_assert_held(&stream->lock);
	wrong = pinhole_frame_check(vb, b, planes);
	if (wrong)
		return wrong;
	if (!pinhole_is_output(stream))
		pinhole_frame_filled(buf, b, planes);

	pinhole_frame_stamp(buf, b);
	buf->vb.sequence = b->sequence;
	stream->sequence = b->sequence;
	buf->result = b->flags & V4L2_BUF_FLAG_ERROR ? VB2_BUF_STATE_ERROR :
						       VB2_BUF_STATE_DONE;
	return NULL;
}

/*
 * A buffer was refused: it is no frame, and stands where the last one was. One that no
 * frame was made for has no time.
 */
void pinhole_frame_none(struct pinhole_buffer *buf)
{
	struct vb2_buffer *vb = &buf->vb.vb2_buf;
	struct pinhole_stream *stream = vb2_get_drv_priv(vb->vb2_queue);
	unsigned int i;

	lockdep_assert_held(&stream->lock);
	if (!stream->queue.copy_timestamp)
		vb->timestamp = pinhole_clock_stamp(&stream->clock, 0,
						    ktime_get_ns());
	else if (!pinhole_is_output(stream))
		vb->timestamp = 0;
	buf->vb.sequence = stream->sequence;
	buf->result = VB2_BUF_STATE_ERROR;
	if (pinhole_is_output(stream))
		return;
	buf->vb.field = V4L2_FIELD_NONE;
	buf->vb.flags &= ~PINHOLE_FRAME_FLAGS;
	for (i = 0; i < vb->num_planes; i++)
		vb2_set_plane_payload(vb, i, 0);
}
