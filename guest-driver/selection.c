// SPDX-License-Identifier: GPL-2.0
/*
 * The part of an input's picture that is captured.
 */
#include "pinhole.h"

/* The V4L2 core has turned the multi-planar buffer type into the other one. */
static int pinhole_forward_selection(struct pinhole_device *dev,
				     unsigned int cmd,
				     struct v4l2_selection *sel)
{
	u32 target = sel->target;
	int ret;

	if (sel->type != V4L2_BUF_TYPE_VIDEO_CAPTURE)
		return -EINVAL;
	ret = pinhole_ioctl(dev, cmd, sel);
	if (ret)
		return ret;
	if (sel->type != V4L2_BUF_TYPE_VIDEO_CAPTURE || sel->target != target ||
	    !sel->r.width || sel->r.width > U16_MAX ||
	    !sel->r.height || sel->r.height > U16_MAX ||
	    sel->r.left < S16_MIN || sel->r.left > S16_MAX ||
	    sel->r.top < S16_MIN || sel->r.top > S16_MAX)
		return pinhole_nonsense(dev, cmd);
	return 0;
}

/* Whether the device can select parts of a picture. Waits for the device. */
bool pinhole_has_selection(struct pinhole_device *dev)
{
	struct v4l2_selection sel = {
		.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
		.target = V4L2_SEL_TGT_CROP_BOUNDS,
	};

	return pinhole_forward_selection(dev, VIDIOC_G_SELECTION,
					 &sel) != -ENOTTY;
}

int pinhole_g_selection(struct file *file, void *priv,
			struct v4l2_selection *sel)
{
	return pinhole_forward_selection(video_drvdata(file),
					 VIDIOC_G_SELECTION, sel);
}

/* Another part of the picture may have another size: as for S_FMT. */
int pinhole_s_selection(struct file *file, void *priv,
			struct v4l2_selection *sel)
{
	struct pinhole_device *dev = video_drvdata(file);
	int ret = -EBUSY;

	if (mutex_lock_interruptible(&dev->stream.queue_mutex))
		return -ERESTARTSYS;
	if (!vb2_is_busy(&dev->stream.queue))
		ret = pinhole_forward_selection(dev, VIDIOC_S_SELECTION, sel);
	mutex_unlock(&dev->stream.queue_mutex);
	return ret;
}
