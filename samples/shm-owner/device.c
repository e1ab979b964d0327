// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * device.c - /dev/shm-owner: loads the sample and answers its ioctls (shm-owner.h).
 *
 * Owns the device.
 */
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/uaccess.h>

#include "registry.h"

static long do_register(struct shm_owner_register __user *user)
{
	struct shm_owner_register request;
	struct pid *pid;
	int error;

	if (copy_from_user(&request, user, sizeof(request)))
		return -EFAULT;
	if (!request.bytes || request.bytes > SZ_1G || request.reserved)
		return -EINVAL;
	pid = request.pid ? find_get_pid(request.pid) : get_pid(task_tgid(current));
	if (!pid)
		return -ESRCH;
	error = registry_add(pid, request.bytes, &request.id);
	put_pid(pid);
	if (!error && put_user(request.id, &user->id))
		error = -EFAULT; /* it has its segment, and will never know: so be it */
	return error;
}

static long do_open(struct shm_owner_open __user *user)
{
	struct shm_owner_open request;
	struct file *file;
	int fd;

	if (copy_from_user(&request, user, sizeof(request)))
		return -EFAULT;
	file = registry_find(request.id);
	if (!file)
		return -ENOENT;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd >= 0 && put_user(fd, &user->fd)) {
		put_unused_fd(fd);
		fd = -EFAULT;
	}
	if (fd < 0) {
		fput(file);
		return fd;
	}
	fd_install(fd, file);
	return 0;
}

static long do_counts(struct shm_owner_counts __user *user)
{
	struct shm_owner_counts counts;

	registry_count(&counts);
	return copy_to_user(user, &counts, sizeof(counts)) ? -EFAULT : 0;
}

static long shm_owner_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	void __user *user = (void __user *)argument;

	switch (command) {
	case SHM_OWNER_REGISTER:
		return do_register(user);
	case SHM_OWNER_OPEN:
		return do_open(user);
	case SHM_OWNER_COUNTS:
		return do_counts(user);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = shm_owner_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "shm-owner",
	.fops = &operations,
	.mode = 0600,
};

static int __init shm_owner_load(void)
{
	registry_init();
	return misc_register(&device);
}

static void __exit shm_owner_unload(void)
{
	misc_deregister(&device);
}

module_init(shm_owner_load);
module_exit(shm_owner_unload);
MODULE_LICENSE("Dual BSD/GPL");
MODULE_AUTHOR("The Knell authors");
MODULE_DESCRIPTION("Sample of knell.ko: shared memory that is freed when its owner dies");
MODULE_VERSION("1");
