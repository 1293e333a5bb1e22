/* For contrast: a server that reads its whole model into memory before it listens, as llama-server does with --no-mmap.
 * It computes nothing: `read_at_start FILE` answers 200 to everything on port 8080 once the file has been read. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void stop(int signal) { (void)signal; _exit(0); }

static int fail(const char *what) { perror(what); return 1; }

int main(int argc, char **argv) {
    signal(SIGTERM, stop);
    signal(SIGPIPE, SIG_IGN);
    if (argc != 2) { fputs("usage: read_at_start FILE\n", stderr); return 2; }
    int file = open(argv[1], O_RDONLY);
    struct stat data;
    if (file < 0 || fstat(file, &data) != 0) return fail(argv[1]);
    char *model = malloc((size_t)data.st_size);
    if (!model) return fail("memory");
    for (off_t at = 0; at < data.st_size;) {
        ssize_t n = read(file, model + at, (size_t)(data.st_size - at));
        if (n <= 0) return fail("read");
        at += n;
    }
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(8080)};
    if (bind(listener, (struct sockaddr *)&any, sizeof any) != 0 || listen(listener, 16) != 0) return fail("listen");
    static const char answer[] = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nok\n";
    for (;;) {
        char request[4096];
        int client = accept(listener, NULL, NULL);
        if (client < 0) continue;
        if (read(client, request, sizeof request) > 0 && write(client, answer, sizeof answer - 1) < 0) perror("write");
        close(client);
    }
}
