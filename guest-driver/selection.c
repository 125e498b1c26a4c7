// SPDX-License-Identifier: GPL-2.0
/*
 * The part of a picture that is used: of an input's what is captured; of a frame that
 * another is made of, what is read, and where in the other it goes.
 */
#include "pinhole.h"

/* The V4L2 core has turned the multi-planar buffer types into the others. */
static int pinhole_forward_selection(struct pinhole_context *ctx,
				     unsigned int cmd,
				     struct v4l2_selection *sel)
{
	u32 type = sel->type, target = sel->target;
	int ret;

	if (type == V4L2_BUF_TYPE_VIDEO_OUTPUT && !pinhole_is_m2m(ctx->dev))
		return -EINVAL;
	if (type != V4L2_BUF_TYPE_VIDEO_CAPTURE &&
	    type != V4L2_BUF_TYPE_VIDEO_OUTPUT)
		return -EINVAL;
	ret = pinhole_ioctl(ctx, cmd, sel);
	if (ret)
		return ret;
	if (sel->type != type || sel->target != target ||
	    !sel->r.width || sel->r.width > U16_MAX ||
	    !sel->r.height || sel->r.height > U16_MAX ||
	    sel->r.left < S16_MIN || sel->r.left > S16_MAX ||
	    sel->r.top < S16_MIN || sel->r.top > S16_MAX)
		return pinhole_nonsense(ctx->dev, cmd);
	return 0;
}

/* Whether the device can select parts of a picture. Waits for the device. */
bool pinhole_has_selection(struct pinhole_context *ctx)
{
	struct v4l2_selection sel = {
		.type = pinhole_is_m2m(ctx->dev) ? V4L2_BUF_TYPE_VIDEO_OUTPUT :
						   V4L2_BUF_TYPE_VIDEO_CAPTURE,
		.target = V4L2_SEL_TGT_CROP_BOUNDS,
	};

	return pinhole_forward_selection(ctx, VIDIOC_G_SELECTION,
					 &sel) != -ENOTTY;
}

int pinhole_g_selection(struct file *file, void *priv,
			struct v4l2_selection *sel)
{
	return pinhole_forward_selection(pinhole_file_context(file),
					 VIDIOC_G_SELECTION, sel);
}

/*
 * Another part of an input's picture may have another size: as for S_FMT. What is
 * read of a frame, and where it goes, changes no format, and may change at any time.
 */
int pinhole_s_selection(struct file *file, void *priv,
			struct v4l2_selection *sel)
{
	struct pinhole_context *ctx = pinhole_file_context(file);
	int ret = -EBUSY;

	if (mutex_lock_interruptible(&ctx->queue_mutex))
		return -ERESTARTSYS;
	if (pinhole_is_m2m(ctx->dev) || !pinhole_context_is_busy(ctx))
		ret = pinhole_forward_selection(ctx, VIDIOC_S_SELECTION, sel);
	mutex_unlock(&ctx->queue_mutex);
	return ret;
}
