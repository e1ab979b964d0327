/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* notify TEXT - sends it to the socket that NOTIFY_SOCKET names, as sd_notify(3) does. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET");
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (argc != 2 || !path || strlen(path) >= sizeof(address.sun_path))
		return 2;
	memcpy(address.sun_path, path, strlen(path));
	return sendto(fd, argv[1], strlen(argv[1]), 0, (struct sockaddr *)&address,
		      sizeof(address)) < 0;
}
