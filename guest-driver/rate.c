// SPDX-License-Identifier: GPL-2.0
/*
 * At what rate frames are captured or shown.
 */
#include "pinhole.h"

/*
 * The number of buffers for read() or write() is the driver's, not the device's.
 * Either type of the device's direction will do, as for v4l2_g_parm_cap(): v4l2-ctl
 * asks for the single-planar one always. The V4L2 core has refused the others.
 */
static int pinhole_forward_parm(struct file *file, unsigned int cmd,
				struct v4l2_streamparm *parm)
{
	struct pinhole_context *ctx = pinhole_file_context(file);
	const struct pinhole_stream *stream = ctx->streams;
	const bool output = pinhole_is_output(stream);
	const u32 asked = parm->type;
	int ret;

	parm->type = stream->queue.type;
	ret = pinhole_ioctl(ctx, cmd, parm);
	if (ret)
		return ret;
	if (parm->type != stream->queue.type ||
	    !pinhole_fraction_good(output ? &parm->parm.output.timeperframe :
					    &parm->parm.capture.timeperframe))
		return pinhole_nonsense(ctx->dev, cmd);
	parm->type = asked;
	if (output)
		parm->parm.output.writebuffers = 2;
	else
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
