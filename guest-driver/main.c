// SPDX-License-Identifier: GPL-2.0
/*
 * pinhole: a V4L2 driver for the virtio media device (VIRTIO 1.4), which captures,
 * shows, or makes frames out of frames.
 *
 * The driver opens one session with the device, or one for each file where a file is a
 * context, and runs the buffer queues in the guest's own videobuf2. The device is given
 * scatter lists of guest memory; one that takes none, or is to, has MMAP buffers in
 * memory of its own.
 */
#include <linux/dma-mapping.h>
#include <linux/module.h>
#include <linux/reboot.h>
#include <linux/slab.h>

#include "pinhole.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

static unsigned int standin_id;
module_param(standin_id, uint, 0444);
MODULE_PARM_DESC(standin_id,
		 "bind this virtio device id, too, for machine monitors that have no media device (default: 0, none)");

/* The device is going to be reset: it has no session and no mapping after that. */
static void pinhole_reset(struct pinhole_device *dev)
{
	pinhole_sessions_reset(dev);
	pinhole_region_reset(dev);
}

static const struct pinhole_upcalls pinhole_upcalls = {
	.done = pinhole_buffers_done,
	.fault = pinhole_streams_fault,
	.fail = pinhole_streams_fail,
	.dqbuf = pinhole_buffer_returned,
	.event = pinhole_v4l2_event,
	.lost = pinhole_session_lost,
	.reset = pinhole_reset,
	.renewed = pinhole_session_renewed,
};

/* The last open file has been closed: nobody uses the device any more. */
static void pinhole_release(struct v4l2_device *v4l2_dev)
{
	struct pinhole_device *dev = container_of(v4l2_dev,
						  struct pinhole_device,
						  v4l2_dev);

	pinhole_recovery_exit(dev);
	pinhole_context_exit(&dev->context);
	pinhole_region_exit(dev);
	pinhole_commands_exit(dev);
	mutex_destroy(&dev->contexts.mutex);
	put_device(dev->dma.dev);
	put_device(&dev->vdev->dev);
	mutex_destroy(&dev->ioctl_mutex);
	kfree(dev);
}

/* What the device may be, and the queues of a context: the first of these that it is. */
static const struct {
	u32 cap;
	unsigned int num_types;
	u32 types[2];
} pinhole_kinds[] = {
	{ V4L2_CAP_VIDEO_CAPTURE, 1, { V4L2_BUF_TYPE_VIDEO_CAPTURE } },
	{ V4L2_CAP_VIDEO_CAPTURE_MPLANE, 1,
	  { V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE } },
	{ V4L2_CAP_VIDEO_OUTPUT, 1, { V4L2_BUF_TYPE_VIDEO_OUTPUT } },
	{ V4L2_CAP_VIDEO_OUTPUT_MPLANE, 1,
	  { V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE } },
	{ V4L2_CAP_VIDEO_M2M, 2,
	  { V4L2_BUF_TYPE_VIDEO_OUTPUT, V4L2_BUF_TYPE_VIDEO_CAPTURE } },
	{ V4L2_CAP_VIDEO_M2M_MPLANE, 2,
	  { V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE,
	    V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE } },
};

/* Reads what the device is; -ENODEV if it is nothing that this driver drives. */
static int pinhole_read_config(struct pinhole_device *dev)
{
	struct pinhole_context *ctx = &dev->context;
	struct virtio_device *vdev = dev->vdev;
	unsigned int i, j;
	u32 caps, type;

	virtio_cread_le(vdev, struct virtio_media_config, device_caps, &caps);
	virtio_cread_le(vdev, struct virtio_media_config, device_type, &type);
	virtio_cread_bytes(vdev, offsetof(struct virtio_media_config, card),
			   dev->card, sizeof(dev->card) - 1);
	if (!dev->card[0])
		strscpy(dev->card, "virtio-media", sizeof(dev->card));

	for (i = 0; i < ARRAY_SIZE(pinhole_kinds) && !dev->cap; i++) {
		dev->cap = caps & pinhole_kinds[i].cap;
		ctx->num_streams = pinhole_kinds[i].num_types;
		for (j = 0; j < ctx->num_streams; j++)
			ctx->streams[j].queue.type = pinhole_kinds[i].types[j];
	}
	if (type != VFL_TYPE_VIDEO || !dev->cap ||
	    !(caps & V4L2_CAP_STREAMING)) {
		dev_err(&vdev->dev,
			"no capture, output or mem-to-mem device: type %u, capabilities 0x%08x\n",
			type, caps);
		return -ENODEV;
	}
	return 0;
}

/*
 * Tells the DMA API how long a segment may be. A bus gives its devices limits
 * that few of them have: PCI 64 KiB a segment, and none across a multiple of 4
 * GiB. Entries have 64 bits for the address and 32 for the length, so that only a
 * bounce buffer, or an IOMMU, sets a limit. Memory of vb2_dma_sg_memops comes in
 * segments of any length, which the DMA API complains of where they exceed the
 * device's (CONFIG_DMA_API_DEBUG_SG); where there is a limit it is not used.
 */
static void pinhole_limit_segments(struct device *dma_dev)
{
	if (!dma_dev->dma_parms)
		return;
	dma_set_max_seg_size(dma_dev, min_t(size_t, UINT_MAX,
					    dma_max_mapping_size(dma_dev)));
	dma_set_seg_boundary(dma_dev, ULONG_MAX);
}

/*
 * Finds out what addresses the device wants. Without VIRTIO_F_ACCESS_PLATFORM
 * they are guest-physical. Whether those are what the DMA API hands out, and
 * whether it does nothing else, is tried on a page, which the host may see.
 */
static int pinhole_probe_dma(struct pinhole_device *dev)
{
	const bool reads_only = !pinhole_is_m2m(dev) &&
				pinhole_is_output(dev->context.streams);
	const enum dma_data_direction dir = reads_only ? DMA_TO_DEVICE :
							 DMA_FROM_DEVICE;
	struct pinhole_dma *dma = &dev->dma;
	struct page *page;
	dma_addr_t addr;

	pinhole_limit_segments(dma->dev);
	dma->use = !virtio_has_dma_quirk(dev->vdev);
	page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (!page)
		return -ENOMEM;
	addr = dma_map_page(dma->dev, page, 0, PAGE_SIZE, dir);
	if (!dma_mapping_error(dma->dev, addr)) {
		dma->identity = addr == page_to_phys(page);
		dma->sync = dma->use && !reads_only &&
			    dma_need_sync(dma->dev, addr);
		dma_unmap_page(dma->dev, addr, PAGE_SIZE, dir);
	}
	__free_page(page);
	dma->paged = dma->use ? dma_max_mapping_size(dma->dev) != SIZE_MAX :
				!dma->identity;
	return 0;
}

/*
 * Resets the device, whose virtqueues may not have been found, and takes back
 * what it was given: for good (-ENODEV), or as long as it is to be left alone
 * (-ESHUTDOWN).
 *
 * When the fault is set nothing is submitted any more, and whoever waits for the
 * device stops waiting. A device whose own memory is mapped is asked to unmap it
 * before.
 */
static void pinhole_stop_virtio(struct pinhole_device *dev, int fault)
{
	struct pinhole_context *ctx;
	bool in_use;

	mutex_lock(&dev->region.lock);
	in_use = pinhole_region_is_in_use(dev);
	if (!in_use)
		pinhole_set_fault(dev, fault, NULL);
	mutex_unlock(&dev->region.lock);
	if (in_use) {
		mutex_lock(&dev->commands.mutex);
		pinhole_region_leave(dev);
		pinhole_set_fault(dev, fault, NULL);
		mutex_unlock(&dev->commands.mutex);
	}
	pinhole_recovery_cancel(dev);
	mutex_lock(&dev->contexts.mutex);
	list_for_each_entry(ctx, &dev->contexts.list, node)
		cancel_delayed_work_sync(&ctx->controls.work);
	mutex_unlock(&dev->contexts.mutex);
	mutex_lock(&dev->commands.mutex);
	pinhole_virtqueues_down(dev);
	mutex_unlock(&dev->commands.mutex);
}

/*
 * Finds out in whose memory the buffers can be. A device that takes none in the
 * guest's, and does not show its own, can be looked at and not streamed with: that
 * is said here, and not by every STREAMON.
 */
static int pinhole_probe_memory(struct pinhole_device *dev)
{
	struct v4l2_requestbuffers none = {
		.type = dev->context.streams[0].queue.type,
		.memory = V4L2_MEMORY_USERPTR,
	};
	int ret = pinhole_ioctl(&dev->context, VIDIOC_REQBUFS, &none);

	if (pinhole_is_local(ret) || pinhole_fault(dev))
		return ret;
	if ((pinhole_is_m2m(dev) || !pinhole_region_find(dev, ret)) && ret)
		dev_err(&dev->vdev->dev,
			"device takes no buffers in guest memory (SHARED_PAGES), error %d, and has no shared memory region that is fit for its own\n",
			ret);
	return 0;
}

/*
 * The system goes down, and another kernel may follow: the device is to use no memory
 * from here on. Some kernels have an operation of virtio drivers for it,
 * some reset all virtio devices themselves, after this, and others do nothing.
 */
static int pinhole_reboot(struct notifier_block *nb, unsigned long action,
			  void *data)
{
	pinhole_stop_virtio(container_of(nb, struct pinhole_device, reboot),
			    -ESHUTDOWN);
	return NOTIFY_DONE;
}

static int pinhole_probe(struct virtio_device *vdev)
{
	struct pinhole_device *dev;
	int ret;

	dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	if (!dev)
		return -ENOMEM;

	dev->up = &pinhole_upcalls;
	dev->vdev = vdev;
	get_device(&vdev->dev);
	dev->dma.dev = get_device(vdev->dev.parent);
	mutex_init(&dev->ioctl_mutex);
	pinhole_commands_init(dev);
	pinhole_events_init(dev);
	pinhole_recovery_init(dev);
	pinhole_region_init(dev);
	mutex_init(&dev->contexts.mutex);
	INIT_LIST_HEAD(&dev->contexts.list);
	pinhole_context_init(&dev->context, dev);
	dev->context.session.busy = PINHOLE_PROBING;
	vdev->priv = dev;

	ret = v4l2_device_register(&vdev->dev, &dev->v4l2_dev);
	if (ret) {
		pinhole_release(&dev->v4l2_dev);
		return ret;
	}
	dev->v4l2_dev.release = pinhole_release;

	ret = pinhole_read_config(dev);
	if (ret)
		goto err_v4l2;
	ret = pinhole_context_queues(&dev->context);
	if (ret)
		goto err_v4l2;
	ret = pinhole_probe_dma(dev);
	if (ret)
		goto err_v4l2;
	ret = pinhole_virtqueues_up(dev);
	if (ret)
		goto err_virtio;
	ret = pinhole_recovery_alloc(dev);
	if (ret)
		goto err_virtio;
	ret = pinhole_context_open(&dev->context);
	if (ret)
		goto err_virtio;
	ret = pinhole_probe_memory(dev);
	if (ret)
		goto err_virtio;
	pinhole_session_done(&dev->context, PINHOLE_PROBING);
	dev->reboot.notifier_call = pinhole_reboot;
	ret = register_reboot_notifier(&dev->reboot);
	if (ret)
		goto err_virtio;
	ret = pinhole_register_node(dev);
	if (ret)
		goto err_reboot;

	if (pinhole_is_m2m(dev))
		pinhole_context_close(&dev->context);
	dev_info(&vdev->dev, "%s as %s\n", dev->card,
		 video_device_node_name(&dev->video_dev));
	return 0;

err_reboot:
	unregister_reboot_notifier(&dev->reboot);
err_virtio:
	pinhole_stop_virtio(dev, -ENODEV);
err_v4l2:
	v4l2_device_unregister(&dev->v4l2_dev);
	v4l2_device_put(&dev->v4l2_dev);
	return ret;
}

/*
 * The node may be open and the stream running. The device is reset first, so that
 * the buffers can be freed; the node is unregistered with its queues, which frees
 * them. Files that are still open keep the structure, and get -ENODEV.
 */
static void pinhole_remove(struct virtio_device *vdev)
{
	struct pinhole_device *dev = vdev->priv;

	unregister_reboot_notifier(&dev->reboot);
	pinhole_stop_virtio(dev, -ENODEV);
	if (pinhole_is_m2m(dev))
		pinhole_m2m_unregister(dev);
	else
		vb2_video_unregister_device(&dev->video_dev);
	v4l2_device_unregister(&dev->v4l2_dev);
	v4l2_device_put(&dev->v4l2_dev);
}

static const struct virtio_device_id pinhole_ids[] = {
	{ VIRTIO_MEDIA_DEVICE_ID, VIRTIO_DEV_ANY_ID },
	{ 0 },
};
MODULE_DEVICE_TABLE(virtio, pinhole_ids);

/* The same with the stand-in, whose number is known when the module is loaded. */
static struct virtio_device_id pinhole_ids_standin[] __ro_after_init = {
	{ VIRTIO_MEDIA_DEVICE_ID, VIRTIO_DEV_ANY_ID },
	{ 0, VIRTIO_DEV_ANY_ID },
	{ 0 },
};

/* The device has changed its configuration, which nobody asks for, or its status. */
static void pinhole_config_changed(struct virtio_device *vdev)
{
	pinhole_watchdog_alert(vdev->priv);
}

#ifdef CONFIG_PM_SLEEP
/* The system is to sleep: streams end with an error. */
static int pinhole_freeze(struct virtio_device *vdev)
{
	pinhole_stop_virtio(vdev->priv, -ESHUTDOWN);
	return 0;
}

/*
 * The device was reset, and is set up as one that was given up: now, or when the
 * stream has ended that ran when the system fell asleep. No work item does it, for
 * after this the virtio core sets DRIVER_OK unless it is set.
 */
static int pinhole_restore(struct virtio_device *vdev)
{
	struct pinhole_device *dev = vdev->priv;

	pinhole_replace_fault(dev, -ESHUTDOWN, -EIO);
	mutex_lock(&dev->commands.mutex);
	dev->recovery.retry = jiffies;
	dev->commands.silent = false;
	pinhole_session_ready(&dev->context);
	mutex_unlock(&dev->commands.mutex);
	return 0;
}
#endif

static struct virtio_driver pinhole_driver = {
	.driver.name = KBUILD_MODNAME,
	.driver.owner = THIS_MODULE,
	.id_table = pinhole_ids,
	.probe = pinhole_probe,
	.remove = pinhole_remove,
	.config_changed = pinhole_config_changed,
#ifdef CONFIG_PM_SLEEP
	.freeze = pinhole_freeze,
	.restore = pinhole_restore,
#endif
};

static int __init pinhole_init(void)
{
	if (standin_id) {
		pinhole_ids_standin[1].device = standin_id;
		pinhole_driver.id_table = pinhole_ids_standin;
	}
	return register_virtio_driver(&pinhole_driver);
}
module_init(pinhole_init);

static void __exit pinhole_exit(void)
{
	unregister_virtio_driver(&pinhole_driver);
}
module_exit(pinhole_exit);

MODULE_DESCRIPTION("V4L2 driver for the virtio media device");
MODULE_AUTHOR("The Pinhole authors");
MODULE_LICENSE("GPL");
PINHOLE_IMPORT_DMA_BUF;
