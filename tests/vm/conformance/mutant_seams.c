// SPDX-License-Identifier: GPL-2.0
/*
 * Drivers that break a clause each, made of Pinhole's: the parameter "mutant" has
 * the clause's number.
 *
 * The linker leads calls of these functions to what stands here (Kbuild), as it
 * does for the matrix's mutants. What is mutated is the message on its way to the
 * ring, or what the driver makes of the answer; the driver's own files know nothing
 * of it.
 */
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/pci.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <media/v4l2-ioctl.h>
#include <media/videobuf2-v4l2.h>

#include "pinhole.h"

/* Value that the suite gives a control in an ioctl that the device refuses. */
#define REFUSED 33

/* Slot of the port that the suite's device with two planes is behind. */
#define PLANES_SLOT 0x1e

int __real_virtqueue_add_sgs(struct virtqueue *vq, struct scatterlist *sgs[],
			     unsigned int out, unsigned int in, void *data,
			     gfp_t gfp);
int __wrap_virtqueue_add_sgs(struct virtqueue *vq, struct scatterlist *sgs[],
			     unsigned int out, unsigned int in, void *data,
			     gfp_t gfp);
int __real_pinhole_cmd_call(struct pinhole_cmd *cmd, bool killable);
int __wrap_pinhole_cmd_call(struct pinhole_cmd *cmd, bool killable);
bool __real_pinhole_buffer_returned(struct pinhole_device *dev, u32 session_id,
				    const struct virtio_media_event_dqbuf *event,
				    u32 used);
bool __wrap_pinhole_buffer_returned(struct pinhole_device *dev, u32 session_id,
				    const struct virtio_media_event_dqbuf *event,
				    u32 used);
int __real_pinhole_context_queues(struct pinhole_context *ctx);
int __wrap_pinhole_context_queues(struct pinhole_context *ctx);
int __real_vb2_ioctl_dqbuf(struct file *file, void *priv, struct v4l2_buffer *p);
int __wrap_vb2_ioctl_dqbuf(struct file *file, void *priv, struct v4l2_buffer *p);
long __real_video_ioctl2(struct file *file, unsigned int cmd, unsigned long arg);
long __wrap_video_ioctl2(struct file *file, unsigned int cmd, unsigned long arg);
int __real___register_virtio_driver(struct virtio_driver *drv,
				    struct module *owner);
int __wrap___register_virtio_driver(struct virtio_driver *drv,
				    struct module *owner);
bool pinhole_mutant_unread(struct pinhole_device *dev);

static char mutant[16] = "none";
module_param_string(mutant, mutant, sizeof(mutant), 0644);
MODULE_PARM_DESC(mutant, "number of the clause to break (default: none)");

static bool breaks(const char *clause)
{
	return sysfs_streq(mutant, clause);
}

/* The session that was closed last, and what an event had that nobody believes. */
static u32 closed;
static u64 last_pointer;
static u32 last_used;

/* The ioctl's number; 0 of another command. */
static u32 code_of(const struct pinhole_cmd *cmd)
{
	const struct virtio_media_cmd_ioctl *hdr = cmd->req;

	if (le32_to_cpu(hdr->hdr.cmd) != VIRTIO_MEDIA_CMD_IOCTL)
		return 0;
	return le32_to_cpu(hdr->code);
}

/* MP-5, GV-16: a longer payload, and one in pieces of eight bytes. */
static struct scatterlist crumbs[64];

static void mutate_chain(struct pinhole_cmd *cmd, struct scatterlist *sgs[])
{
	unsigned int i, count = cmd->req_len / 8;

	if (code_of(cmd) != _IOC_NR(VIDIOC_TRY_FMT))
		return;
	if (breaks("MP-5"))
		sgs[0]->length = cmd->req_len + 4;
	if (breaks("GV-16") && count <= ARRAY_SIZE(crumbs)) {
		sg_init_table(crumbs, count);
		for (i = 0; i < count; i++)
			sg_set_buf(&crumbs[i], cmd->req + 8 * i, 8);
		sgs[0] = crumbs;
	}
}

/* MP-8: a gap between the payload and the controls. */
static void mutate_controls(struct pinhole_cmd *cmd, struct scatterlist *sgs[])
{
	u8 *list = cmd->req + sizeof(struct virtio_media_cmd_ioctl) +
		   sizeof(struct v4l2_ext_controls);
	const u32 *value = (u32 *)(list + 12);
	u32 code = code_of(cmd);

	if (!breaks("MP-8") || cmd->req_len < 68 || *value != REFUSED ||
	    (code != _IOC_NR(VIDIOC_S_EXT_CTRLS) &&
	     code != _IOC_NR(VIDIOC_TRY_EXT_CTRLS)))
		return;
	memmove(list + 4, list, cmd->req_len - 48);
	memset(list, 0, 4);
	sgs[0]->length = cmd->req_len + 4;
}

/* MV-1, MV-2: sessions never opened, and closed. MV-3: a layout of 32 bits. */
static void mutate_header(struct pinhole_cmd *cmd)
{
	struct virtio_media_cmd_ioctl *hdr = cmd->req;
	void *format = cmd->req + sizeof(*hdr);

	if (code_of(cmd) != _IOC_NR(VIDIOC_TRY_FMT))
		return;
	if (breaks("MV-1"))
		hdr->session_id = cpu_to_le32(le32_to_cpu(hdr->session_id) + 1000);
	if (breaks("MV-2") && closed)
		hdr->session_id = cpu_to_le32(closed);
	if (breaks("MV-3") && in_compat_syscall())
		memmove(format + 4, format + 8, sizeof(struct v4l2_format) - 8);
}

/*
 * MP-9: the list goes on, with what happens to be behind it in memory. DV-1/offset:
 * memory is said to begin at its page.
 */
static void mutate_segments(struct pinhole_cmd *cmd)
{
	u64 start;

	if (breaks("DV-1/offset") && code_of(cmd) == _IOC_NR(VIDIOC_QBUF) &&
	    cmd->entries) {
		start = le64_to_cpu(cmd->entries[0].start) & PAGE_MASK;
		cmd->entries[0].start = cpu_to_le64(start);
	}
	if (breaks("MP-9") && code_of(cmd) == _IOC_NR(VIDIOC_QBUF) && cmd->entries)
		cmd->entries_sgt.sgl->length =
			(cmd->num_entries + 1) * sizeof(*cmd->entries);
}

int __wrap_virtqueue_add_sgs(struct virtqueue *vq, struct scatterlist *sgs[],
			     unsigned int out, unsigned int in, void *data,
			     gfp_t gfp)
{
	mutate_header(data);
	mutate_segments(data);
	mutate_chain(data, sgs);
	mutate_controls(data, sgs);
	return __real_virtqueue_add_sgs(vq, sgs, out, in, data, gfp);
}

/* MP-20: an ioctl in a session that is to be closed. */
static void use_again(struct pinhole_device *dev, u32 session)
{
	size_t size = sizeof(struct v4l2_format);
	struct pinhole_cmd *cmd;
	struct v4l2_format *format;

	cmd = pinhole_cmd_alloc(dev, sizeof(struct virtio_media_cmd_ioctl) + size,
				sizeof(struct virtio_media_resp_header) + size, 0);
	if (IS_ERR(cmd))
		return;
	pinhole_fill_ioctl(cmd->req, session, VIDIOC_G_FMT);
	format = cmd->req + sizeof(struct virtio_media_cmd_ioctl);
	format->type = dev->context.streams[0].queue.type;
	pinhole_cmd_submit(cmd);
	pinhole_cmd_put(cmd);
}

/*
 * MV-5: a session that is closed is not. GV-21: bytes behind the used length count. GV-10: the request is overwritten when
 * nobody waits for it any more. DV-3: errors that are the kernel's own.
 */
int __wrap_pinhole_cmd_call(struct pinhole_cmd *cmd, bool killable)
{
	struct virtio_media_cmd_close *close = cmd->req;
	int ret;

	if (le32_to_cpu(close->hdr.cmd) == VIRTIO_MEDIA_CMD_CLOSE) {
		closed = le32_to_cpu(close->session_id);
		if (breaks("MP-20"))
			use_again(cmd->dev, closed);
		if (breaks("MV-5"))
			return 0;
	}
	ret = __real_pinhole_cmd_call(cmd, killable);
	if (!ret && breaks("GV-21"))
		cmd->used = cmd->resp_len;
	if (ret == -ERESTARTSYS && breaks("GV-10"))
		memset(cmd->req, 0x6b, cmd->req_len);
	if (ret && cmd->garbled && breaks("DV-3"))
		ret = -ERESTARTNOHAND;
	return ret;
}

/* DV-1: frames are shorter than the device says. */
bool __wrap_pinhole_buffer_returned(struct pinhole_device *dev, u32 session_id,
				    const struct virtio_media_event_dqbuf *event,
				    u32 used)
{
	const u32 whole = dev->context.streams[0].plane_sizes[0];
	struct virtio_media_event_dqbuf other = *event;

	if (breaks("MV-6") && event->buffer.m.userptr)
		last_pointer = event->buffer.m.userptr;
	if (breaks("DV-1") && other.buffer.bytesused > 5)
		other.buffer.bytesused = 5;
	/* DV-4: the length is passed on as it came. */
	if (breaks("DV-4") && other.buffer.bytesused > whole) {
		last_used = other.buffer.bytesused;
		other.buffer.bytesused = whole;
	}
	return __real_pinhole_buffer_returned(dev, session_id, &other, used);
}

/* MV-6, DV-4: what the event said goes to the program. */
int __wrap_vb2_ioctl_dqbuf(struct file *file, void *priv, struct v4l2_buffer *p)
{
	int ret = __real_vb2_ioctl_dqbuf(file, priv, p);

	if (ret)
		return ret;
	if (last_pointer && p->type == V4L2_BUF_TYPE_VIDEO_CAPTURE)
		p->m.userptr = last_pointer;
	if (last_used)
		p->bytesused = last_used;
	last_pointer = 0;
	last_used = 0;
	return ret;
}

/* MV-4: what the device has not returned is zeroes. */
long __wrap_video_ioctl2(struct file *file, unsigned int cmd, unsigned long arg)
{
	long ret = __real_video_ioctl2(file, cmd, arg);
	struct v4l2_ext_controls controls;

	if (ret && breaks("MV-4") &&
	    (cmd == VIDIOC_S_EXT_CTRLS || cmd == VIDIOC_TRY_EXT_CTRLS) &&
	    !copy_from_user(&controls, (void __user *)arg, sizeof(controls)) &&
	    clear_user(controls.controls, sizeof(*controls.controls)))
		ret = -EFAULT;
	return ret;
}

/* GV-7: a configuration that has anything behind the structure is refused. */
int __wrap_pinhole_context_queues(struct pinhole_context *ctx)
{
	struct virtio_device *vdev = ctx->dev->vdev;
	u32 beyond = 0;

	/* Another start has other sessions. */
	closed = 0;
	vdev->config->get(vdev, sizeof(struct virtio_media_config), &beyond,
			  sizeof(beyond));
	if (breaks("GV-7") && beyond == 0x5a5a5a5a)
		return -ENODEV;
	return __real_pinhole_context_queues(ctx);
}

/* GV-13: the feature is not accepted. */
static int mutant_validate(struct virtio_device *vdev)
{
	if (breaks("GV-13"))
		__virtio_clear_bit(vdev, VIRTIO_F_ACCESS_PLATFORM);
	return 0;
}

int __wrap___register_virtio_driver(struct virtio_driver *drv,
				    struct module *owner)
{
	drv->validate = mutant_validate;
	return __real___register_virtio_driver(drv, owner);
}

/* MP-3: the configuration is made up instead of read. */
bool pinhole_mutant_unread(struct pinhole_device *dev)
{
	struct pci_dev *port;

	if (!breaks("MP-3"))
		return false;
	strscpy(dev->card, "unread", sizeof(dev->card));
	dev->context.num_streams = 1;
	port = pci_upstream_bridge(to_pci_dev(dev->vdev->dev.parent));
	if (port && PCI_SLOT(port->devfn) == PLANES_SLOT) {
		dev->cap = V4L2_CAP_VIDEO_CAPTURE_MPLANE;
		dev->context.streams[0].queue.type = V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE;
	} else {
		dev->cap = V4L2_CAP_VIDEO_CAPTURE;
		dev->context.streams[0].queue.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
	}
	return true;
}
