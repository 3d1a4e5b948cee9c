/* Its first thread ends at once, and another one goes on. */
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *go_on(void *nothing)
{
	sleep(1000);
	return nothing;
}

int main(void)
{
	pthread_t thread;

	pthread_create(&thread, 0, go_on, 0);
	syscall(SYS_exit, 0);
}
