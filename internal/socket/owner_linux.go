package socket

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// owner finds who listens on a TCP port: the socket's inode in /proc/net/tcp, then the process that has it open.
func owner(port string) string {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		for _, inode := range listening(table, port) {
			if who := holder("socket:[" + inode + "]"); who != "" {
				return who
			}
		}
	}
	return ""
}

// listening reads a table of sockets. Source: proc_net_tcp in the kernel's documentation.
func listening(table, port string) (inodes []string) {
	const listen = "0A"
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil
	}
	file, err := os.Open(table)
	if err != nil {
		return nil
	}
	defer file.Close()
	suffix := fmt.Sprintf(":%04X", number)
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		f := strings.Fields(lines.Text()) // sl local remote state queues timer retransmits uid timeout inode
		if len(f) > 9 && f[3] == listen && strings.HasSuffix(f[1], suffix) {
			inodes = append(inodes, f[9])
		}
	}
	return inodes
}

func holder(link string) string {
	files, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, file := range files {
		if target, err := os.Readlink(file); err != nil || target != link {
			continue
		}
		pid := strings.Split(file, "/")[2]
		name, _ := os.ReadFile("/proc/" + pid + "/comm")
		return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), pid)
	}
	return ""
}
