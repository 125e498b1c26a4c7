// SPDX-License-Identifier: GPL-2.0
/*
 * Sessions that are lost, and devices that do not respond.
 *
 * A lost session is replaced by another. A device that does not respond, or says
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
 * pinhole_session_lost() - the device has given up the session
 * @dev: device
 * @session_id: the session that it has given up
 *
 * The stream ends, and another session is opened.
 *
 * Context: Any, without the stream's lock.
 * Return: False if it is not the present session.
 */
bool pinhole_session_lost(struct pinhole_device *dev, u32 session_id)
{
	struct pinhole_session *session = &dev->session;
	unsigned long flags;
	bool present;

	spin_lock_irqsave(&session->lock, flags);
	present = session->id == session_id;
	if (present)
		WRITE_ONCE(session->bad, true);
	spin_unlock_irqrestore(&session->lock, flags);
	if (!present)
		return false;

	if (!pinhole_fault(dev))
		mod_delayed_work(system_percpu_wq, &session->work, 0);
	dev->up->fail(dev, "gave up the session");
	return true;
}

/*
 * A session that the device gave up is closed, as it must be, and another opened.
 * Events of the old one that are still in the queue are taken out before the new
 * one can have any.
 *
 * Want of memory, here or at the device, gives up nothing, nor does the end of
 * the process: the buffers went with the old session, and another is opened by
 * the next that needs it. A device that takes for ever over it is given up: so
 * many commands, each answered just in time, would keep everybody waiting.
 */
static int pinhole_session_renew(struct pinhole_device *dev)
{
	int ret;

	if (dev->session.open) {
		ret = pinhole_session_close(dev);
		if (ret)
			return ret;
		pinhole_events_drain(dev);
	}
	ret = pinhole_session_new(dev);
	if (ret == -ENOMEM)
		goto err_retry;
	if (ret) {
		pinhole_set_fault(dev, -EIO, "does not open a new session");
		return ret;
	}
	ret = dev->up->renewed(dev);
	if (ret == -ETIMEDOUT) {
		pinhole_set_fault(dev, -EIO, "is too slow for a new session");
		return -EIO;
	}
	if (ret)
		goto err_retry;
	if (dev->commands.quiet) {
		WRITE_ONCE(dev->commands.quiet, false);
		dev_info_ratelimited(&dev->vdev->dev, "device is back\n");
	}
	return pinhole_fault(dev);

err_retry:
	pinhole_session_replace(dev, PINHOLE_RETRY);
	return ret;
}

/*
 * Resets a device that was given up, sets it up anew and opens a session. If it
 * is still of no use it stays given up, and is left alone for a while: whoever
 * needs it meanwhile is not to wait for it each time.
 *
 * QEMU (11.1.3) aborts when a vhost-user device is set up whose back end is gone,
 * which cannot be told from one that is silent: it is left to the parameter.
 */
static int pinhole_recover(struct pinhole_device *dev)
{
	struct pinhole_session *session = &dev->session;
	int ret;

	if (session->busy || time_before(jiffies, session->retry))
		return -EIO;
	if (dev->commands.silent && !READ_ONCE(revive))
		return -EIO;
	WRITE_ONCE(dev->commands.quiet, true);
	pinhole_virtqueues_down(dev);
	session->open = false;
	ret = pinhole_virtqueues_up_again(dev);
	if (!ret) {
		session->fresh = true;
		ret = pinhole_session_renew(dev);
	}
	WRITE_ONCE(session->retry, jiffies + pinhole_timeout());
	if (!ret || pinhole_is_local(ret))
		return ret;
	return pinhole_fault(dev) == -ENODEV ? -ENODEV : -EIO;
}

/**
 * pinhole_session_ready() - see to it that there is a session to use
 * @dev: device
 *
 * Context: Process context. May wait for the device.
 * Return: 0 or a negative errno.
 */
int pinhole_session_ready(struct pinhole_device *dev)
{
	int ret = pinhole_fault(dev);

	lockdep_assert_held(&dev->session.mutex);
	if (ret == -EIO)
		return pinhole_recover(dev);
	if (ret || !READ_ONCE(dev->session.bad))
		return ret;
	return pinhole_session_renew(dev);
}

/*
 * Has a device that was given up set up anew, as soon as nobody relies on it and
 * the last time was long enough ago. One that was of no use then is left to who
 * needs it next.
 */
void pinhole_session_recover(struct pinhole_device *dev)
{
	struct pinhole_session *session = &dev->session;
	unsigned long retry = READ_ONCE(session->retry);
	unsigned long now = jiffies;

	if (pinhole_fault(dev) != -EIO || READ_ONCE(session->busy) ||
	    READ_ONCE(dev->commands.quiet))
		return;
	mod_delayed_work(system_percpu_wq, &session->work,
			 time_before(now, retry) ? retry - now : 0);
}

/* Nobody relies any longer on the device as it is. */
void pinhole_session_done(struct pinhole_device *dev)
{
	mutex_lock(&dev->session.mutex);
	WRITE_ONCE(dev->session.busy, false);
	mutex_unlock(&dev->session.mutex);
	pinhole_session_recover(dev);
}

/* Replaces a session that the device gave up, or sets up the device. */
static void pinhole_session_work(struct work_struct *work)
{
	struct pinhole_device *dev = container_of(to_delayed_work(work),
						  struct pinhole_device,
						  session.work);

	mutex_lock(&dev->session.mutex);
	pinhole_session_ready(dev);
	mutex_unlock(&dev->session.mutex);
}

/**
 * pinhole_call_locked() - forward an ioctl
 * @dev: device
 * @call: ioctl
 *
 * -ENODEV from a device that is there says that it gave up the session, and comes
 * before the event that does when the device had no time for the event yet. The
 * ioctl then goes to the session that follows.
 *
 * Context: Process context. Waits for the device.
 * Return: As pinhole_call().
 */
int pinhole_call_locked(struct pinhole_device *dev,
			const struct pinhole_call *call)
{
	int ret = pinhole_session_ready(dev);

	if (!ret)
		ret = pinhole_session_call(dev, call);
	if (ret == -ENODEV && !pinhole_fault(dev)) {
		pinhole_session_lost(dev, dev->session.id);
		ret = pinhole_session_ready(dev);
		if (!ret)
			ret = pinhole_session_call(dev, call);
	}
	return ret;
}

/**
 * pinhole_call() - forward an ioctl
 * @dev: device
 * @call: ioctl
 *
 * Context: Process context. Takes the session's mutex; waits for the device.
 * Return: 0 or a negative errno: the device's own, -EIO if the device does not
 * respond or not sensibly, -ENODEV if it was removed, -ERESTARTSYS if the process
 * was killed.
 */
int pinhole_call(struct pinhole_device *dev, const struct pinhole_call *call)
{
	int ret;

	if (mutex_lock_killable(&dev->session.mutex))
		return -ERESTARTSYS;
	ret = pinhole_call_locked(dev, call);
	mutex_unlock(&dev->session.mutex);
	return ret;
}

/* As pinhole_call(), of an ioctl whose payload has no pointers. */
int pinhole_ioctl(struct pinhole_device *dev, unsigned int cmd, void *payload)
{
	struct pinhole_call call = {
		.cmd = cmd,
		.payload = payload,
		.length = _IOC_SIZE(cmd),
	};

	return pinhole_call(dev, &call);
}

/* A device that does not know the session any more has given it up. */
static void pinhole_ping_complete(struct pinhole_cmd *cmd)
{
	struct virtio_media_cmd_ioctl *hdr = cmd->req;

	if (!pinhole_fault(cmd->dev) && cmd->result == -ENODEV)
		pinhole_session_lost(cmd->dev, le32_to_cpu(hdr->session_id));
}

/* Looks whether the device responds, and again after a while. */
static void pinhole_watchdog_work(struct work_struct *work)
{
	struct pinhole_device *dev = container_of(to_delayed_work(work),
						  struct pinhole_device,
						  session.watchdog);
	struct pinhole_cmd *ping = dev->session.ping;
	unsigned long heard;
	const char *wrong;
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
	if (!READ_ONCE(dev->session.busy))
		return;
	if (idle && time_after(jiffies, heard + pinhole_timeout() / 4)) {
		pinhole_fill_ioctl(ping->req, READ_ONCE(dev->session.id),
				   pinhole_is_output(dev) ? VIDIOC_G_OUTPUT :
							    VIDIOC_G_INPUT);
		pinhole_cmd_submit(ping);
	}
	pinhole_watchdog_start(dev);
}

/* Has the watchdog look in a while, and again as long as there is a stream. */
void pinhole_watchdog_start(struct pinhole_device *dev)
{
	schedule_delayed_work(&dev->session.watchdog, pinhole_timeout() / 8 + 1);
}

/* Has it look at once: the device has changed its configuration, or its status. */
void pinhole_watchdog_alert(struct pinhole_device *dev)
{
	mod_delayed_work(system_percpu_wq, &dev->session.watchdog, 0);
}

/* Stops the watchdog; waits for a look that is under way. */
void pinhole_watchdog_stop(struct pinhole_device *dev)
{
	cancel_delayed_work_sync(&dev->session.watchdog);
}

/* Allocates what must not be allocated when it is needed. */
static int pinhole_recovery_alloc(struct pinhole_device *dev)
{
	struct pinhole_cmd *cmd;

	cmd = pinhole_cmd_alloc(dev, sizeof(struct virtio_media_cmd_close), 0,
				0);
	if (IS_ERR(cmd))
		return PTR_ERR(cmd);
	dev->session.close = cmd;

	cmd = pinhole_cmd_alloc(dev, sizeof(struct virtio_media_cmd_ioctl),
				sizeof(struct virtio_media_resp_header) +
				_IOC_SIZE(VIDIOC_G_INPUT), 0);
	if (IS_ERR(cmd))
		return PTR_ERR(cmd);
	cmd->complete = pinhole_ping_complete;
	dev->session.ping = cmd;
	return 0;
}

/* Opens the first session. Waits for the device. */
int pinhole_session_open(struct pinhole_device *dev)
{
	int ret = pinhole_recovery_alloc(dev);

	if (ret)
		return ret;
	mutex_lock(&dev->session.mutex);
	ret = pinhole_session_new(dev);
	mutex_unlock(&dev->session.mutex);
	return ret;
}

void pinhole_session_init(struct pinhole_device *dev)
{
	mutex_init(&dev->session.mutex);
	spin_lock_init(&dev->session.lock);
	dev->session.busy = true;
	dev->session.retry = jiffies;
	INIT_DELAYED_WORK(&dev->session.work, pinhole_session_work);
	INIT_DELAYED_WORK(&dev->session.watchdog, pinhole_watchdog_work);
}

/* Waits for what works on the session; the fault is set. */
void pinhole_session_cancel(struct pinhole_device *dev)
{
	cancel_delayed_work_sync(&dev->session.work);
	pinhole_watchdog_stop(dev);
}

/* Nobody uses the session any more; the device was reset. */
void pinhole_session_exit(struct pinhole_device *dev)
{
	pinhole_session_cancel(dev);
	pinhole_cmd_release(dev->session.ping);
	pinhole_cmd_release(dev->session.close);
	mutex_destroy(&dev->session.mutex);
}
