// SPDX-License-Identifier: GPL-2.0
/*
 * Sessions with the device, and the ioctls that are forwarded in them.
 */
#include <linux/videodev2.h>

#include "pinhole.h"

/* Opens a session. Waits for the device. */
int pinhole_session_new(struct pinhole_context *ctx)
{
	struct pinhole_session *session = &ctx->session;
	struct virtio_media_cmd_header *hdr;
	struct virtio_media_resp_open *resp;
	struct pinhole_cmd *cmd;
	unsigned long flags;
	int ret;

	lockdep_assert_held(&ctx->dev->commands.mutex);
	cmd = pinhole_cmd_alloc(ctx->dev, sizeof(*hdr), sizeof(*resp), 0);
	if (IS_ERR(cmd))
		return PTR_ERR(cmd);
	hdr = cmd->req;
	hdr->cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_OPEN);

	ret = pinhole_cmd_call(cmd, false);
	if (!ret && cmd->used < sizeof(*resp))
		ret = -EIO;
	if (!ret) {
		resp = cmd->resp;
		spin_lock_irqsave(&session->lock, flags);
		WRITE_ONCE(session->id, le32_to_cpu(resp->session_id));
		WRITE_ONCE(session->bad, false);
		spin_unlock_irqrestore(&session->lock, flags);
		WRITE_ONCE(session->opened, session->opened + 1);
		/* Who finds the session by its number is to find that one. */
		smp_store_release(&session->open, true);
	}
	pinhole_cmd_release(cmd);
	return ret;
}

/*
 * Once the device has taken the command it uses no buffer of the session. It
 * fails only with the device, and the fault set: the command was allocated
 * beforehand. Events of the session that are still in the queue are taken out before
 * another, which may have the same number, can have any.
 */
int pinhole_session_close(struct pinhole_context *ctx)
{
	struct pinhole_session *session = &ctx->session;
	struct virtio_media_cmd_close *close = session->close->req;
	int ret;

	lockdep_assert_held(&ctx->dev->commands.mutex);
	close->hdr.cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_CLOSE);
	close->session_id = cpu_to_le32(session->id);
	ret = pinhole_cmd_call(session->close, false);
	if (ret)
		return ret;
	pinhole_events_drain(ctx->dev);
	WRITE_ONCE(session->open, false);
	return 0;
}

/*
 * Has the session replaced after @delay jiffies, or by who needs it before. That of a
 * file is not replaced.
 */
void pinhole_session_replace(struct pinhole_context *ctx, unsigned long delay)
{
	struct pinhole_session *session = &ctx->session;
	struct pinhole_device *dev = ctx->dev;
	unsigned long flags;

	spin_lock_irqsave(&session->lock, flags);
	WRITE_ONCE(session->bad, true);
	spin_unlock_irqrestore(&session->lock, flags);
	if (!pinhole_is_m2m(dev) && !pinhole_fault(dev))
		mod_delayed_work(system_percpu_wq, &dev->recovery.work, delay);
}

/* Forwards an ioctl in the session as it is. Waits for the device. */
int pinhole_session_call(struct pinhole_context *ctx,
			 const struct pinhole_call *call)
{
	size_t out = _IOC_DIR(call->cmd) & _IOC_WRITE ? call->length : 0;
	size_t in = _IOC_DIR(call->cmd) & _IOC_READ ? call->length : 0;
	struct pinhole_device *dev = ctx->dev;
	struct pinhole_cmd *c;
	int ret;

	lockdep_assert_held(&dev->commands.mutex);
	c = pinhole_cmd_alloc(dev, sizeof(struct virtio_media_cmd_ioctl) + out,
			      sizeof(struct virtio_media_resp_header) + in,
			      call->num_pieces);
	if (IS_ERR(c))
		return PTR_ERR(c);
	pinhole_fill_ioctl(c->req, ctx->session.id, call->cmd);
	memcpy(c->req + sizeof(struct virtio_media_cmd_ioctl), call->payload,
	       out);
	if (call->num_pieces) {
		ret = pinhole_cmd_attach(c, call->pieces);
		if (ret)
			goto out;
	}

	ret = pinhole_cmd_call(c, true);
	if (!ret && c->used < c->resp_len) {
		dev_err_ratelimited(&dev->vdev->dev,
				    "short response to ioctl %u: %u of %zu bytes\n",
				    _IOC_NR(call->cmd), c->used, c->resp_len);
		ret = -EIO;
	}
	if (ret)
		goto out;
	memcpy(call->payload,
	       c->resp + sizeof(struct virtio_media_resp_header), in);
	if (call->num_pieces && call->cmd == VIDIOC_G_EXT_CTRLS)
		pinhole_cmd_fetch(c, call->pieces);
out:
	pinhole_cmd_release(c);
	return ret;
}

/* Likewise, of an ioctl whose payload has no pointers. */
int pinhole_session_ioctl(struct pinhole_context *ctx, unsigned int cmd,
			  void *payload)
{
	struct pinhole_call call = {
		.cmd = cmd,
		.payload = payload,
		.length = _IOC_SIZE(cmd),
	};

	return pinhole_session_call(ctx, &call);
}

/**
 * pinhole_nonsense() - the device's response to an ioctl makes no sense
 * @dev: device
 * @cmd: VIDIOC_*
 *
 * What the device responds goes to applications only after it was looked at:
 * sizes of 0, fractions that divide by zero and strings without end are logged
 * once an ioctl and turned into an error.
 *
 * Return: -EIO.
 */
int pinhole_nonsense(struct pinhole_device *dev, unsigned int cmd)
{
	if (!test_and_set_bit(_IOC_NR(cmd), dev->commands.complaints))
		dev_err(&dev->vdev->dev, "invalid response to ioctl %u\n",
			_IOC_NR(cmd));
	return -EIO;
}
