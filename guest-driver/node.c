// SPDX-License-Identifier: GPL-2.0
/*
 * The device node: its ioctls, and the few that are not the device's business.
 */
#include <linux/string.h>
#include <media/v4l2-event.h>

#include "pinhole.h"

/*
 * The controls that were grabbed when buffers were asked for are let go if
 * there are none in the end.
 */
static int pinhole_reqbufs(struct file *file, void *priv,
			   struct v4l2_requestbuffers *req)
{
	struct pinhole_context *ctx = pinhole_file_context(file);
	int ret = vb2_ioctl_reqbufs(file, priv, req);

	if (!pinhole_context_is_busy(ctx))
		pinhole_region_free(ctx->dev);
	pinhole_controls_grab(ctx, pinhole_context_is_busy(ctx));
	return ret;
}

static int pinhole_create_bufs(struct file *file, void *priv,
			       struct v4l2_create_buffers *create)
{
	struct pinhole_context *ctx = pinhole_file_context(file);
	int ret = vb2_ioctl_create_bufs(file, priv, create);

	pinhole_controls_grab(ctx, pinhole_context_is_busy(ctx));
	return ret;
}

/*
 * The buffers go with the file that has asked for them, those of read() or write(),
 * too. The device stays until this returns.
 */
static int pinhole_close(struct file *file)
{
	struct pinhole_device *dev = video_drvdata(file);
	struct pinhole_context *ctx = &dev->context;
	int ret = vb2_fop_release(file);

	/* Whoever had no buffers does not wait for the lock of those who have. */
	if (pinhole_context_is_busy(ctx))
		return ret;
	mutex_lock(&ctx->queue_mutex);
	if (!pinhole_context_is_busy(ctx))
		pinhole_region_free(dev);
	pinhole_controls_grab(ctx, pinhole_context_is_busy(ctx));
	mutex_unlock(&ctx->queue_mutex);
	return ret;
}

/* Of these the V4L2 core leaves out those of the other direction (vfl_dir). */
static const struct v4l2_ioctl_ops pinhole_ioctl_ops = {
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
	.vidioc_enum_frameintervals = pinhole_enum_frameintervals,
	.vidioc_g_parm = pinhole_g_parm,
	.vidioc_s_parm = pinhole_s_parm,
	.vidioc_enum_input = pinhole_enum_input,
	.vidioc_g_input = pinhole_g_input,
	.vidioc_s_input = pinhole_s_input,
	.vidioc_enum_output = pinhole_enum_output,
	.vidioc_g_output = pinhole_g_output,
	.vidioc_s_output = pinhole_s_output,
	.vidioc_g_selection = pinhole_g_selection,
	.vidioc_s_selection = pinhole_s_selection,
	.vidioc_reqbufs = pinhole_reqbufs,
	.vidioc_create_bufs = pinhole_create_bufs,
	.vidioc_prepare_buf = vb2_ioctl_prepare_buf,
	.vidioc_querybuf = vb2_ioctl_querybuf,
	.vidioc_qbuf = vb2_ioctl_qbuf,
	.vidioc_dqbuf = vb2_ioctl_dqbuf,
	.vidioc_expbuf = vb2_ioctl_expbuf,
	PINHOLE_REMOVE_BUFS_OP
	.vidioc_streamon = vb2_ioctl_streamon,
	.vidioc_streamoff = vb2_ioctl_streamoff,
	.vidioc_log_status = pinhole_log_status,
	.vidioc_subscribe_event = pinhole_subscribe_event,
	.vidioc_unsubscribe_event = v4l2_event_unsubscribe,
};

static const struct v4l2_file_operations pinhole_fops = {
	.owner = THIS_MODULE,
	.open = v4l2_fh_open,
	.release = pinhole_close,
	.read = vb2_fop_read,
	.write = vb2_fop_write,
	.poll = pinhole_poll,
	.mmap = vb2_fop_mmap,
	.unlocked_ioctl = video_ioctl2,
};

/*
 * The device makes its own buffers all at once, and keeps them until there is none;
 * nothing exports them.
 */
static void pinhole_disable_more_bufs(struct video_device *video)
{
	v4l2_disable_ioctl(video, VIDIOC_CREATE_BUFS);
	v4l2_disable_ioctl(video, VIDIOC_EXPBUF);
	PINHOLE_DISABLE_REMOVE_BUFS(video);
}

static void pinhole_disable_selection(struct video_device *video)
{
	v4l2_disable_ioctl(video, VIDIOC_G_SELECTION);
	v4l2_disable_ioctl(video, VIDIOC_S_SELECTION);
	v4l2_disable_ioctl(video, VIDIOC_G_CROP);
	v4l2_disable_ioctl(video, VIDIOC_S_CROP);
	v4l2_disable_ioctl(video, VIDIOC_CROPCAP);
}

/* What is of a device with one queue for all files. */
static void pinhole_node_one(struct pinhole_device *dev,
			     struct video_device *video)
{
	struct pinhole_context *ctx = &dev->context;
	const bool output = pinhole_is_output(ctx->streams);

	video->fops = &pinhole_fops;
	video->ioctl_ops = &pinhole_ioctl_ops;
	video->lock = &dev->ioctl_mutex;
	video->queue = &ctx->streams[0].queue;
	video->vfl_dir = output ? VFL_DIR_TX : VFL_DIR_RX;
	video->device_caps |= V4L2_CAP_READWRITE;
	if (!list_empty(&ctx->controls.list))
		video->ctrl_handler = &ctx->controls.handler;
	if (pinhole_region_is_wanted(dev))
		pinhole_disable_more_bufs(video);
	if (output || !pinhole_has_selection(ctx))
		pinhole_disable_selection(video);
}

/* What is of a device each file of which has a context: its locks are the files'. */
static void pinhole_node_m2m(struct pinhole_device *dev,
			     struct video_device *video)
{
	struct v4l2_encoder_cmd stop = { .cmd = V4L2_ENC_CMD_STOP };
	struct pinhole_context *ctx = &dev->context;

	video->fops = &pinhole_m2m_fops;
	video->ioctl_ops = &pinhole_m2m_ioctl_ops;
	video->vfl_dir = VFL_DIR_M2M;
	if (!pinhole_has_selection(ctx))
		pinhole_disable_selection(video);
	if (pinhole_ioctl(ctx, VIDIOC_TRY_ENCODER_CMD, &stop) == -ENOTTY) {
		v4l2_disable_ioctl(video, VIDIOC_TRY_ENCODER_CMD);
		v4l2_disable_ioctl(video, VIDIOC_ENCODER_CMD);
	}
}

/*
 * Makes the device node. Ioctls that the device cannot serve are switched off, so
 * that applications are told -ENOTTY by the kernel itself, and need not try.
 */
int pinhole_register_node(struct pinhole_device *dev)
{
	struct video_device *video = &dev->video_dev;

	strscpy(video->name, dev->card, sizeof(video->name));
	video->v4l2_dev = &dev->v4l2_dev;
	video->release = video_device_release_empty;
	video->device_caps = V4L2_CAP_STREAMING | dev->cap;
	if (pinhole_is_m2m(dev))
		pinhole_node_m2m(dev, video);
	else
		pinhole_node_one(dev, video);
	if (!pinhole_has_events(&dev->context)) {
		v4l2_disable_ioctl(video, VIDIOC_SUBSCRIBE_EVENT);
		v4l2_disable_ioctl(video, VIDIOC_UNSUBSCRIBE_EVENT);
		v4l2_disable_ioctl(video, VIDIOC_DQEVENT);
	}
	video_set_drvdata(video, dev);
	return video_register_device(video, VFL_TYPE_VIDEO, -1);
}
