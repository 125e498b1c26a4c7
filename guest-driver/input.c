// SPDX-License-Identifier: GPL-2.0
/*
 * Inputs, the part of their picture that is captured, and at what rate.
 */
#include "pinhole.h"

/*
 * The number of buffers for read() is the driver's, not the device's. Either type
 * of capture will do, as for v4l2_g_parm_cap(): v4l2-ctl asks for the
 * single-planar one always.
 */
static int pinhole_forward_parm(struct file *file, unsigned int cmd,
				struct v4l2_streamparm *parm)
{
	struct pinhole_device *dev = video_drvdata(file);
	const u32 asked = parm->type;
	int ret;

	if (asked != V4L2_BUF_TYPE_VIDEO_CAPTURE &&
	    asked != V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE)
		return -EINVAL;
	parm->type = dev->stream.queue.type;
	ret = pinhole_ioctl(dev, cmd, parm);
	if (ret)
		return ret;
	if (parm->type != dev->stream.queue.type ||
	    !pinhole_fraction_good(&parm->parm.capture.timeperframe))
		return pinhole_nonsense(dev, cmd);
	parm->type = asked;
	parm->parm.capture.readbuffers = 2;
	return 0;
}

int pinhole_g_parm(struct file *file, void *priv, struct v4l2_streamparm *parm)
{
	return pinhole_forward_parm(file, VIDIOC_G_PARM, parm);
}

int pinhole_s_parm(struct file *file, void *priv, struct v4l2_streamparm *parm)
{
	return pinhole_forward_parm(file, VIDIOC_S_PARM, parm);
}

/* The driver has no tuners, audio inputs, standards or timings to go with it. */
int pinhole_enum_input(struct file *file, void *priv, struct v4l2_input *input)
{
	struct pinhole_device *dev = video_drvdata(file);
	u32 index = input->index;
	int ret;

	ret = pinhole_ioctl(dev, VIDIOC_ENUMINPUT, input);
	if (ret)
		return ret;
	input->name[sizeof(input->name) - 1] = '\0';
	if (input->index != index || !input->name[0])
		return pinhole_nonsense(dev, VIDIOC_ENUMINPUT);
	input->type = V4L2_INPUT_TYPE_CAMERA;
	input->audioset = 0;
	input->tuner = 0;
	input->std = 0;
	input->capabilities = 0;
	return 0;
}

int pinhole_g_input(struct file *file, void *priv, unsigned int *index)
{
	return pinhole_ioctl(video_drvdata(file), VIDIOC_G_INPUT, index);
}

/*
 * Another input may have another format, so that the same holds as for S_FMT.
 * The present one may be chosen at any time.
 */
int pinhole_s_input(struct file *file, void *priv, unsigned int index)
{
	struct pinhole_device *dev = video_drvdata(file);
	u32 present;
	int ret;

	if (mutex_lock_interruptible(&dev->stream.queue_mutex))
		return -ERESTARTSYS;
	if (vb2_is_busy(&dev->stream.queue)) {
		ret = pinhole_ioctl(dev, VIDIOC_G_INPUT, &present);
		if (!ret && present != index)
			ret = -EBUSY;
	} else {
		ret = pinhole_ioctl(dev, VIDIOC_S_INPUT, &index);
	}
	mutex_unlock(&dev->stream.queue_mutex);
	return ret;
}

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
