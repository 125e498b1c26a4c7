// SPDX-License-Identifier: GPL-2.0
/*
 * Sessions that are lost, and devices that do not respond.
 *
 * A lost session is replaced by another, but not that of a file of a device from memory
 * to memory: what the file has set up is gone with it, and the file is dead until it is
 * closed. A device that does not respond, or says
 * itself that it needs a reset, is given up: nothing is sent to it any more. It is
 * reset, set up anew and used again as soon as no stream relies on it.
 *
 * Nobody waits for the response to a QBUF, and a device may be silent for as long
 * as no frame is due. So that one that died is told from one that has nothing to
 * say, the watchdog asks a silent device for its input or output: any response
 * will do.
 */
#include <linux/moduleparam.h>
#include <linux/videodev2.h>

#include "pinhole.h"

static bool revive;
module_param(revive, bool, 0644);
MODULE_PARM_DESC(revive,
		 "set up anew a device that has fallen silent, too; some machine monitors abort if its back end is gone (default: N)");

/**
 * pinhole_session_lost() - the device has given up a session
 * @dev: device
 * @session_id: the session that it has given up
 *
 * Its streams end, and another session is opened if all files depend on it.
 *
 * Context: Any, without a stream's lock.
 * Return: False if there is no such session.
 */
bool pinhole_session_lost(struct pinhole_device *dev, u32 session_id)
{
	struct pinhole_context *ctx;

	rcu_read_lock();
	ctx = pinhole_context_find(dev, session_id);
	if (ctx) {
		pinhole_session_replace(ctx, 0);
		dev->up->fail(ctx, "gave up the session");
	}
	rcu_read_unlock();
	return ctx;
}

/*
 * The device is going to be reset, and has no session after that. A file of a device
 * from memory to memory is dead, and its streams with it: they are not to begin again
 * in what another file has next.
 */
void pinhole_sessions_reset(struct pinhole_device *dev)
{
	struct pinhole_context *ctx;

	lockdep_assert_held(&dev->commands.mutex);
	rcu_read_lock();
	pinhole_for_each_context(ctx, dev) {
		if (pinhole_is_m2m(dev) && ctx->session.open) {
			pinhole_session_replace(ctx, 0);
			dev->up->fail(ctx, NULL);
		}
		WRITE_ONCE(ctx->session.open, false);
	}
	rcu_read_unlock();
}

/* 0, the device's fault, or -EIO if the session is lost and stays so. */
int pinhole_session_fault(const struct pinhole_context *ctx)
{
	int ret = pinhole_fault(ctx->dev);

	if (!ret && pinhole_is_m2m(ctx->dev) && READ_ONCE(ctx->session.bad))
		ret = -EIO;
	return ret;
}

/* The device is of use: that it is given up would be news again. */
static void pinhole_device_is_back(struct pinhole_device *dev)
{
	lockdep_assert_held(&dev->commands.mutex);
	if (!dev->commands.quiet)
		return;
	WRITE_ONCE(dev->commands.quiet, false);
	dev_info_ratelimited(&dev->vdev->dev, "device is back\n");
}

/*
 * A session that the device gave up is closed, as it must be, and another opened.
 *
 * Want of memory, here or at the device, gives up nothing, nor does the end of
 * the process: the buffers went with the old session, and another is opened by
 * the next that needs it. A device that takes for ever over it is given up: so
 * many commands, each answered just in time, would keep everybody waiting.
 */
static int pinhole_session_renew(struct pinhole_context *ctx)
{
	struct pinhole_device *dev = ctx->dev;
	int ret;

	if (ctx->session.open) {
		ret = pinhole_session_close(ctx);
		if (ret)
			return ret;
	}
	ret = pinhole_session_new(ctx);
	if (ret == -ENOMEM)
		goto err_retry;
	if (ret) {
		pinhole_set_fault(dev, -EIO, "does not open a new session");
		return ret;
	}
	ret = dev->up->renewed(ctx);
	if (ret == -ETIMEDOUT) {
		pinhole_set_fault(dev, -EIO, "is too slow for a new session");
		return -EIO;
	}
	if (ret)
		goto err_retry;
	pinhole_device_is_back(dev);
	return pinhole_fault(dev);

err_retry:
	pinhole_session_replace(ctx, PINHOLE_RETRY);
	return ret;
}

/*
 * Resets a device that was given up, sets it up anew and opens the session that all
 * files depend on, if there is such a one. If it is still of no use it stays given up,
 * and is left alone for a while: whoever needs it meanwhile is not to wait for it each
 * time.
 *
 * QEMU (11.1.3) aborts when a vhost-user device is set up whose back end is gone,
 * which cannot be told from one that is silent: it is left to the parameter.
 */
static int pinhole_recover(struct pinhole_device *dev)
{
	struct pinhole_recovery *recovery = &dev->recovery;
	struct pinhole_context *ctx = &dev->context;
	int ret;

	if (ctx->session.busy || time_before(jiffies, recovery->retry))
		return -EIO;
	if (dev->commands.silent && !READ_ONCE(revive))
		return -EIO;
	WRITE_ONCE(dev->commands.quiet, true);
	pinhole_virtqueues_down(dev);
	ret = pinhole_virtqueues_up_again(dev);
	if (!ret && !pinhole_is_m2m(dev)) {
		recovery->fresh = true;
		ret = pinhole_session_renew(ctx);
	}
	WRITE_ONCE(recovery->retry, jiffies + pinhole_timeout());
	if (!ret || pinhole_is_local(ret))
		return ret;
	return pinhole_fault(dev) == -ENODEV ? -ENODEV : -EIO;
}

/**
 * pinhole_session_ready() - see to it that there is a session to use
 * @ctx: its context
 *
 * Context: Process context. May wait for the device.
 * Return: 0 or a negative errno.
 */
int pinhole_session_ready(struct pinhole_context *ctx)
{
	struct pinhole_device *dev = ctx->dev;
	int ret = pinhole_fault(dev);

	lockdep_assert_held(&dev->commands.mutex);
	if (ret == -EIO)
		ret = pinhole_recover(dev);
	if (ret || !READ_ONCE(ctx->session.bad))
		return ret;
	return pinhole_is_m2m(dev) ? -EIO : pinhole_session_renew(ctx);
}

/*
 * Has a device that was given up set up anew, as soon as nobody relies on it and
 * the last time was long enough ago. One that was of no use then is left to who
 * needs it next.
 */
void pinhole_session_recover(struct pinhole_device *dev)
{
	unsigned long retry = READ_ONCE(dev->recovery.retry);
	unsigned long now = jiffies;

	if (pinhole_fault(dev) != -EIO || READ_ONCE(dev->context.session.busy) ||
	    READ_ONCE(dev->commands.quiet))
		return;
	mod_delayed_work(system_percpu_wq, &dev->recovery.work,
			 time_before(now, retry) ? retry - now : 0);
}

/* A stream, or the probe, does not rely any longer on the session as it is. */
void pinhole_session_done(struct pinhole_context *ctx, u32 who)
{
	mutex_lock(&ctx->dev->commands.mutex);
	WRITE_ONCE(ctx->session.busy, ctx->session.busy & ~who);
	mutex_unlock(&ctx->dev->commands.mutex);
	pinhole_session_recover(ctx->dev);
}

/* Replaces a session that the device gave up, or sets up the device. */
static void pinhole_session_work(struct work_struct *work)
{
	struct pinhole_device *dev = container_of(to_delayed_work(work),
						  struct pinhole_device,
						  recovery.work);

	mutex_lock(&dev->commands.mutex);
	pinhole_session_ready(&dev->context);
	mutex_unlock(&dev->commands.mutex);
}

/**
 * pinhole_call_locked() - forward an ioctl
 * @ctx: context
 * @call: ioctl
 *
 * -ENODEV from a device that is there says that it gave up the session, and comes
 * before the event that does when the device had no time for the event yet. The
 * ioctl then goes to the session that follows.
 *
 * Context: Process context. Waits for the device.
 * Return: As pinhole_call().
 */
int pinhole_call_locked(struct pinhole_context *ctx,
			const struct pinhole_call *call)
{
	int ret = pinhole_session_ready(ctx);

	if (!ret)
		ret = pinhole_session_call(ctx, call);
	if (ret == -ENODEV && !pinhole_fault(ctx->dev)) {
		pinhole_session_lost(ctx->dev, ctx->session.id);
		ret = pinhole_session_ready(ctx);
		if (!ret)
			ret = pinhole_session_call(ctx, call);
	}
	return ret;
}

/**
 * pinhole_call() - forward an ioctl
 * @ctx: context
 * @call: ioctl
 *
 * Context: Process context. Takes commands.mutex; waits for the device.
 * Return: 0 or a negative errno: the device's own, -EIO if the device does not
 * respond or not sensibly, -ENODEV if it was removed, -ERESTARTSYS if the process
 * was killed.
 */
int pinhole_call(struct pinhole_context *ctx, const struct pinhole_call *call)
{
	int ret;

	if (mutex_lock_killable(&ctx->dev->commands.mutex))
		return -ERESTARTSYS;
	ret = pinhole_call_locked(ctx, call);
	mutex_unlock(&ctx->dev->commands.mutex);
	return ret;
}

/* As pinhole_call(), of an ioctl whose payload has no pointers. */
int pinhole_ioctl(struct pinhole_context *ctx, unsigned int cmd, void *payload)
{
	struct pinhole_call call = {
		.cmd = cmd,
		.payload = payload,
		.length = _IOC_SIZE(cmd),
	};

	return pinhole_call(ctx, &call);
}

/* A device that does not know the session any more has given it up. */
static void pinhole_ping_complete(struct pinhole_cmd *cmd)
{
	struct virtio_media_cmd_ioctl *hdr = cmd->req;

	if (!pinhole_fault(cmd->dev) && cmd->result == -ENODEV)
		pinhole_session_lost(cmd->dev, le32_to_cpu(hdr->session_id));
}

/*
 * Any session that a stream runs in will do. Where none does the device may have
 * nothing to say, and nobody waits for it.
 */
static bool pinhole_watchdog_session(struct pinhole_device *dev, u32 *id)
{
	struct pinhole_context *ctx;
	bool found = false;

	rcu_read_lock();
	pinhole_for_each_context(ctx, dev) {
		if (!READ_ONCE(ctx->session.busy) || pinhole_session_fault(ctx))
			continue;
		*id = READ_ONCE(ctx->session.id);
		found = true;
		break;
	}
	rcu_read_unlock();
	return found;
}

/* Looks whether the device responds, and again after a while. */
static void pinhole_watchdog_work(struct work_struct *work)
{
	struct pinhole_device *dev = container_of(to_delayed_work(work),
						  struct pinhole_device,
						  recovery.watchdog);
	struct pinhole_cmd *ping = dev->recovery.ping;
	unsigned long heard;
	const char *wrong;
	u32 session_id;
	bool idle;

	if (dev->vdev->config->get_status(dev->vdev) &
	    VIRTIO_CONFIG_S_NEEDS_RESET) {
		WRITE_ONCE(dev->commands.heard, jiffies);
		pinhole_set_fault(dev, -EIO, "asks for a reset");
	}
	pinhole_commands_look(dev);
	pinhole_events_drain(dev);
	if (pinhole_fault(dev))
		return;
	wrong = pinhole_commands_check(dev, &idle);
	if (wrong) {
		pinhole_set_fault(dev, -EIO, wrong);
		return;
	}
	heard = READ_ONCE(dev->commands.heard);
	if (!pinhole_watchdog_session(dev, &session_id))
		return;
	if (idle && time_after(jiffies, heard + pinhole_timeout() / 4)) {
		pinhole_fill_ioctl(ping->req, session_id,
				   V4L2_TYPE_IS_OUTPUT(dev->context.streams[0].queue.type) ?
				   VIDIOC_G_OUTPUT : VIDIOC_G_INPUT);
		pinhole_cmd_submit(ping);
	}
	pinhole_watchdog_start(dev);
}

/* Has the watchdog look in a while, and again as long as there is a stream. */
void pinhole_watchdog_start(struct pinhole_device *dev)
{
	schedule_delayed_work(&dev->recovery.watchdog, pinhole_timeout() / 8 + 1);
}

/* Has it look at once: the device has changed its configuration, or its status. */
void pinhole_watchdog_alert(struct pinhole_device *dev)
{
	mod_delayed_work(system_percpu_wq, &dev->recovery.watchdog, 0);
}

/* Stops the watchdog; waits for a look that is under way. */
void pinhole_watchdog_stop(struct pinhole_device *dev)
{
	cancel_delayed_work_sync(&dev->recovery.watchdog);
}

/* Allocates what must not be allocated when it is needed. */
int pinhole_recovery_alloc(struct pinhole_device *dev)
{
	struct pinhole_cmd *cmd;

	cmd = pinhole_cmd_alloc(dev, sizeof(struct virtio_media_cmd_ioctl),
				sizeof(struct virtio_media_resp_header) +
				_IOC_SIZE(VIDIOC_G_INPUT), 0);
	if (IS_ERR(cmd))
		return PTR_ERR(cmd);
	cmd->complete = pinhole_ping_complete;
	dev->recovery.ping = cmd;
	return 0;
}

void pinhole_recovery_init(struct pinhole_device *dev)
{
	dev->recovery.retry = jiffies;
	INIT_DELAYED_WORK(&dev->recovery.work, pinhole_session_work);
	INIT_DELAYED_WORK(&dev->recovery.watchdog, pinhole_watchdog_work);
}

/* Waits for what works on the sessions; the fault is set. */
void pinhole_recovery_cancel(struct pinhole_device *dev)
{
	cancel_delayed_work_sync(&dev->recovery.work);
	pinhole_watchdog_stop(dev);
}

/* Nobody uses the device any more; it was reset. */
void pinhole_recovery_exit(struct pinhole_device *dev)
{
	pinhole_recovery_cancel(dev);
	pinhole_cmd_release(dev->recovery.ping);
}

/**
 * pinhole_session_open() - open the first session of a context
 * @ctx: context
 *
 * A device that was given up is tried again before, as for any ioctl.
 *
 * Context: Process context. Waits for the device.
 * Return: 0 or a negative errno.
 */
int pinhole_session_open(struct pinhole_context *ctx)
{
	struct pinhole_device *dev = ctx->dev;
	struct pinhole_cmd *cmd;
	int ret;

	cmd = pinhole_cmd_alloc(dev, sizeof(struct virtio_media_cmd_close), 0,
				0);
	if (IS_ERR(cmd))
		return PTR_ERR(cmd);
	ctx->session.close = cmd;

	mutex_lock(&dev->commands.mutex);
	ret = pinhole_session_ready(ctx);
	if (!ret)
		ret = pinhole_session_new(ctx);
	if (!ret)
		pinhole_device_is_back(dev);
	mutex_unlock(&dev->commands.mutex);
	return ret;
}

/* Closes the session of a context, if it has one, for good. */
void pinhole_session_end(struct pinhole_context *ctx)
{
	mutex_lock(&ctx->dev->commands.mutex);
	if (ctx->session.open && !pinhole_fault(ctx->dev))
		pinhole_session_close(ctx);
	pinhole_session_replace(ctx, 0);
	mutex_unlock(&ctx->dev->commands.mutex);
}

void pinhole_session_init(struct pinhole_context *ctx)
{
	spin_lock_init(&ctx->session.lock);
}

/* Nobody uses the session any more; it is closed, or the device was reset. */
void pinhole_session_exit(struct pinhole_context *ctx)
{
	pinhole_cmd_release(ctx->session.close);
}
