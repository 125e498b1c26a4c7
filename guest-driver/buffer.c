// SPDX-License-Identifier: GPL-2.0
/*
 * A buffer's way to the card and back: QBUF commands and DQBUF events.
 */
#include <linux/ktime.h>
#include <linux/nospec.h>

#include "command.h"
#include "memory.h"
#include "mutant.h"
#include "pinhole.h"
#include "trace.h"

/**
 * to_pinhole_buffer() - the driver's view of a videobuf2 buffer
 * @vb: videobuf2 buffer
 *
 * Context: Any.
 * Return: The buffer.
 */
struct pinhole_buffer *to_pinhole_buffer(struct vb2_buffer *vb)
{
	return container_of(to_vb2_v4l2_buffer(vb), struct pinhole_buffer, vb);
}

/**
 * pinhole_plane_length() - how much of a plane the card may write to
 * @vb: buffer
 * @plane: number of the plane
 *
 * Context: Any.
 * Return: Length in bytes: that of a frame, though there may be more memory.
 */
static u32 pinhole_plane_length(struct vb2_buffer *vb, unsigned int plane)
{
	struct pinhole_device *dev = vb2_get_drv_priv(vb->vb2_queue);

	return min_t(unsigned long, vb2_plane_size(vb, plane),
		     dev->plane_sizes[plane]);
}

/**
 * pinhole_buffer_payload() - how much of a buffer is filled
 * @vb: buffer
 *
 * Context: Any.
 * Return: Number of bytes in all its planes.
 */
static unsigned long pinhole_buffer_payload(struct vb2_buffer *vb)
{
	unsigned long bytes = 0;
	unsigned int i;

	for (i = 0; i < vb->num_planes; i++)
		bytes += vb2_get_plane_payload(vb, i);
	return bytes;
}

/**
 * pinhole_buffer_settle() - give a buffer back to videobuf2 if it is time
 * @dev: device
 * @buf: buffer that videobuf2 has handed over
 *
 * Buffers of a dead stream stay until it is stopped, when it is known that the
 * card no longer writes to them.
 *
 * Context: Any; the device's lock is held.
 * Return: Nothing.
 */
void pinhole_buffer_settle(struct pinhole_device *dev,
			   struct pinhole_buffer *buf)
{
	struct vb2_buffer *vb = &buf->vb.vb2_buf;

	if (!buf->returned || buf->cmd->state != PINHOLE_CMD_IDLE)
		return;
	if (dev->stream == PINHOLE_STARTING || dev->stream_failed || dev->fault)
		return;

	list_del_init(&buf->node);
	trace_pinhole_done(vb->index, buf->vb.sequence,
			   pinhole_buffer_payload(vb), buf->result);
	vb2_buffer_done(vb, buf->result);
}

/**
 * pinhole_qbuf_complete() - a QBUF command was answered
 * @dev: device
 * @cmd: the command
 *
 * Context: Any; the device's lock is held.
 * Return: Nothing.
 */
static void pinhole_qbuf_complete(struct pinhole_device *dev,
				  struct pinhole_cmd *cmd)
{
	struct pinhole_buffer *buf = cmd->buf;
	struct vb2_buffer *vb;
	unsigned int i;

	if (!--dev->qbufs)
		wake_up_all(&dev->idle);
	if (dev->fault)
		return;

	/* Whether it has the buffer is not known: it stays until STREAMOFF. */
	if (cmd->garbled || (!cmd->result && cmd->used < cmd->resp_len)) {
		pinhole_stream_fail(dev, cmd->garbled ?
				    "sent an answer to QBUF that is none" :
				    "sent a short answer to QBUF");
		return;
	}
	/* Likewise of a session that is gone. */
	if (cmd->result == -ENODEV) {
		if (dev->stream_session == dev->session_id)
			pinhole_session_lost(dev);
		else
			pinhole_stream_fail(dev, "gave up the session");
		return;
	}
	if (cmd->result) {
		if (!buf->at_card) {
			pinhole_stream_fail(dev,
					    "refused a buffer that it returned");
			return;
		}
		vb = &buf->vb.vb2_buf;
		dev->slots[vb->index] = NULL;
		buf->at_card = false;
		buf->returned = true;
		buf->result = VB2_BUF_STATE_ERROR;
		/* It is no frame, and stands where the last one was. */
		vb->timestamp = ktime_get_ns();
		buf->vb.sequence = dev->sequence;
		buf->vb.field = V4L2_FIELD_NONE;
		for (i = 0; i < vb->num_planes; i++)
			vb2_set_plane_payload(vb, i, 0);
	} else if (pinhole_mutant(PINHOLE_COMPLETE_EARLY) && buf->at_card) {
		vb = &buf->vb.vb2_buf;
		dev->slots[vb->index] = NULL;
		buf->at_card = false;
		buf->returned = true;
		buf->result = VB2_BUF_STATE_DONE;
		for (i = 0; i < vb->num_planes; i++)
			vb2_set_plane_payload(vb, i, vb2_plane_size(vb, i));
	}
	pinhole_buffer_settle(dev, buf);
}

/**
 * pinhole_buffer_submit() - queue a buffer at the card
 * @dev: device
 * @buf: buffer that videobuf2 has handed over
 *
 * Context: Any; the device's lock is held.
 * Return: Nothing.
 */
void pinhole_buffer_submit(struct pinhole_device *dev,
			   struct pinhole_buffer *buf)
{
	struct vb2_buffer *vb = &buf->vb.vb2_buf;
	unsigned long bytes = 0;
	unsigned int i;

	for (i = 0; i < vb->num_planes; i++)
		bytes += pinhole_plane_length(vb, i);

	pinhole_fill_ioctl(buf->cmd->req, dev->stream_session, VIDIOC_QBUF);
	dev->slots[vb->index] = buf;
	buf->at_card = true;
	dev->qbufs++;
	trace_pinhole_queue(vb->index, buf->cmd->num_entries, bytes);
	pinhole_cmd_submit(dev, buf->cmd);
}

/**
 * pinhole_buffer_payload_length() - how long the payload of its QBUF is
 * @vb: buffer
 *
 * Context: Any.
 * Return: Number of bytes: the buffer, and its planes if they are many.
 */
static size_t pinhole_buffer_payload_length(struct vb2_buffer *vb)
{
	size_t length = sizeof(struct v4l2_buffer);

	if (pinhole_is_multiplanar(vb2_get_drv_priv(vb->vb2_queue)))
		length += vb->num_planes * sizeof(struct v4l2_plane);
	return length;
}

/**
 * pinhole_buffer_fill() - write the payload of a buffer's QBUF
 * @vb: buffer
 * @b: payload
 *
 * Context: Any.
 * Return: Nothing.
 */
static void pinhole_buffer_fill(struct vb2_buffer *vb, struct v4l2_buffer *b)
{
	struct v4l2_plane *planes = (struct v4l2_plane *)(b + 1);
	unsigned int i;

	memset(b, 0, pinhole_buffer_payload_length(vb));
	b->index = vb->index;
	b->type = vb->type;
	b->memory = V4L2_MEMORY_USERPTR;
	if (!pinhole_is_multiplanar(vb2_get_drv_priv(vb->vb2_queue))) {
		b->length = pinhole_plane_length(vb, 0);
		return;
	}
	b->length = vb->num_planes;
	for (i = 0; i < vb->num_planes; i++)
		planes[i].length = pinhole_plane_length(vb, i);
}

/**
 * pinhole_buffer_command() - make the QBUF command of a buffer
 * @vb: buffer
 * @num_entries: number of scatter entries
 *
 * Context: Process context.
 * Return: The command without payload and entries, or an ERR_PTR.
 */
static struct pinhole_cmd *pinhole_buffer_command(struct vb2_buffer *vb,
						  unsigned int num_entries)
{
	struct pinhole_device *dev = vb2_get_drv_priv(vb->vb2_queue);
	size_t payload = pinhole_buffer_payload_length(vb);
	struct pinhole_cmd *cmd;

	cmd = pinhole_cmd_alloc(dev,
				sizeof(struct virtio_media_cmd_ioctl) + payload,
				sizeof(struct virtio_media_resp_header) +
				payload, num_entries);
	if (IS_ERR(cmd))
		return cmd;
	cmd->buf = to_pinhole_buffer(vb);
	cmd->complete = pinhole_qbuf_complete;
	return cmd;
}

/**
 * pinhole_buffer_describe() - write the QBUF command for a buffer's memory
 * @vb: buffer
 *
 * The scatter entries of all planes follow one another; no entry covers parts
 * of two planes. A command with as many entries as before is used again, for
 * memory that may be other memory of another length.
 *
 * The command goes when the memory of the first plane is put: videobuf2 calls
 * buf_cleanup for some ways of losing memory only, and not where a later QBUF
 * of the buffer is refused.
 *
 * Context: Process context.
 * Return: 0 or a negative errno.
 */
int pinhole_buffer_describe(struct vb2_buffer *vb)
{
	struct pinhole_device *dev = vb2_get_drv_priv(vb->vb2_queue);
	struct pinhole_buffer *buf = to_pinhole_buffer(vb);
	int counts[VIDEO_MAX_PLANES];
	struct pinhole_cmd *cmd = buf->cmd;
	unsigned int i, total = 0;
	struct pinhole_mem *mem;
	int ret;

	for (i = 0; i < vb->num_planes; i++) {
		mem = vb2_plane_cookie(vb, i);
		if (IS_ERR_OR_NULL(mem))
			return -EINVAL;
		if (!i)
			mem->buf = buf;
		counts[i] = pinhole_mem_segments(mem,
						 pinhole_plane_length(vb, i),
						 NULL, 0);
		if (counts[i] < 0)
			return counts[i];
		total += counts[i];
	}

	if (!cmd || cmd->num_entries != total) {
		cmd = pinhole_buffer_command(vb, total);
		if (IS_ERR(cmd))
			return PTR_ERR(cmd);
		pinhole_cmd_release(dev, buf->cmd);
		buf->cmd = cmd;
	}
	pinhole_buffer_fill(vb, cmd->req +
			    sizeof(struct virtio_media_cmd_ioctl));

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

/**
 * pinhole_planes_returned() - take over what the card says of a frame's planes
 * @vb: buffer
 * @planes: what the card says, copied out of its reach
 *
 * Context: Any; the device's lock is held.
 * Return: NULL, or what is wrong with it.
 */
static const char *pinhole_planes_returned(struct vb2_buffer *vb,
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
 * pinhole_buffer_returned() - the card has returned a buffer
 * @dev: device
 * @b: what the card says about it, copied out of the card's reach
 * @planes: its planes, likewise; NULL for a single-planar buffer
 *
 * Context: Any; the device's lock is held.
 * Return: NULL, or what is wrong with it.
 */
const char *pinhole_buffer_returned(struct pinhole_device *dev,
				    const struct v4l2_buffer *b,
				    const struct v4l2_plane *planes)
{
	struct pinhole_buffer *buf;
	struct vb2_buffer *vb;
	const char *wrong;
	u32 index;

	if (b->type != dev->queue.type)
		return "returned a buffer of the wrong type";
	if (b->index >= ARRAY_SIZE(dev->slots))
		return "returned a buffer with an index out of range";
	index = array_index_nospec(b->index, ARRAY_SIZE(dev->slots));
	buf = dev->slots[index];
	if (!buf && pinhole_mutant(PINHOLE_COMPLETE_EARLY))
		return NULL;
	if (!buf)
		return "returned a buffer that it does not have";
	vb = &buf->vb.vb2_buf;

	if (planes) {
		if (b->length != vb->num_planes)
			return "returned a buffer with other planes";
		wrong = pinhole_planes_returned(vb, planes);
		if (wrong)
			return wrong;
	} else {
		if (b->bytesused > pinhole_plane_length(vb, 0))
			return "wrote more than a buffer holds";
		vb2_set_plane_payload(vb, 0, b->bytesused);
	}

	vb->timestamp = ktime_get_ns();
	buf->vb.sequence = b->sequence;
	dev->sequence = b->sequence;
	buf->vb.field = V4L2_FIELD_NONE;
	/* After it there is nothing to wait for: DQBUF will say -EPIPE. */
	if (b->flags & V4L2_BUF_FLAG_LAST)
		buf->vb.flags |= V4L2_BUF_FLAG_LAST;
	buf->result = b->flags & V4L2_BUF_FLAG_ERROR ? VB2_BUF_STATE_ERROR :
						       VB2_BUF_STATE_DONE;
	buf->at_card = false;
	buf->returned = true;
	dev->slots[index] = NULL;
	pinhole_buffer_settle(dev, buf);
	return NULL;
}
